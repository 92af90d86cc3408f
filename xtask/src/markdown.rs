//! Text of documents: lines outside fenced code, and the code within a line.

/// Lines outside fenced code.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

/// Words between back-ticks.
pub(crate) fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_what_stands_outside_fences_and_code_what_stands_between_ticks() {
        let text = "a `b` and `c`\n```sh\n`d`\n```\ne";

        assert_eq!(prose(text).collect::<Vec<_>>(), ["a `b` and `c`", "e"]);
        assert_eq!(code("a `b` and `c`").collect::<Vec<_>>(), ["b", "c"]);
    }
}
