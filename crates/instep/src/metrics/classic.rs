//! The text form 0.0.4 of Prometheus, made of OpenMetrics.
//!
//! | OpenMetrics | here |
//! | --- | --- |
//! | a counter is named without `_total`, its samples with it | both with it |
//! | an info is named without `_info` | a gauge, named with it |
//! | `# UNIT`, `# EOF` | – |

use std::fmt::Write as _;

/// The same families and samples in the other form.
pub(super) fn of(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = "";
    for line in page.lines() {
        let (word, rest) = line.strip_prefix("# ").map_or(("", line), split);
        match word {
            // It comes before the type, which decides how the family is named.
            "HELP" => help = split(rest).1,
            "TYPE" => {
                let (name, kind) = split(rest);
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            "UNIT" | "EOF" => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_the_name_of_its_samples() {
        let open = "# HELP a Many things.\n# TYPE a counter\na_total{of=\"# x\"} 1\n\
                    # HELP b_seconds Times.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\n\
                    b_seconds_sum 0.5\n# HELP c What runs.\n# TYPE c info\n\
                    c_info{v=\"1\"} 1\n# EOF\n";

        assert_eq!(
            of(open),
            "# HELP a_total Many things.\n# TYPE a_total counter\na_total{of=\"# x\"} 1\n\
             # HELP b_seconds Times.\n# TYPE b_seconds histogram\nb_seconds_sum 0.5\n\
             # HELP c_info What runs.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n"
        );
    }
}
