//! The pages of a server that are plain HTML: the first one, and that of error codes.

use std::fmt::Write;

const STYLE: &str = "\
:root{color-scheme:light dark}\
*{box-sizing:border-box}\
body{font:16px/1.6 system-ui,sans-serif;max-width:76rem;margin:0 auto;padding:1rem;\
overflow-wrap:anywhere}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em}\
pre{white-space:pre-wrap;background:#8882;border-radius:.2rem;padding:.5rem}\
code{background:#8882;border-radius:.2rem;padding:0 .2rem}\
h1{line-height:1.2}\
h2{border-bottom:1px solid #8886;margin-top:2.5rem}\
h3{margin:0;font-size:1.05rem}h3 code{background:none;padding:0}\
section{border-top:1px solid #8884;padding:1rem 0}h2+section{border:0}\
dl{margin:.5rem 0;display:grid;grid-template-columns:minmax(0,max-content) minmax(0,1fr);\
gap:.25rem 1rem}\
dt{font-weight:600}dd{margin:0}\
@media(max-width:40rem){dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 .6rem 1rem}}";

/// A whole page with this content.
pub(crate) fn framed(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport \
         content='width=device-width,initial-scale=1'><title>{title}</title><style>{STYLE}</style>\
         </head><body>{content}</body></html>"
    )
}

/// The page of error codes.
pub(super) fn errors(explained: impl Iterator<Item = (&'static str, String)>) -> String {
    let mut out =
        String::from("<main><h1>Error codes</h1><p><a href=../reference>API reference</a></p>");
    for (code, text) in explained {
        let text = formatted(&text);
        let _ = write!(out, "<section id={code}><h3><code>{code}</code></h3><p>{text}</section>");
    }
    framed("Instep error codes", &format!("{out}</main>"))
}

/// Formats a text as HTML: back-ticks become code, and links of the documents only their words.
fn formatted(text: &str) -> String {
    let text = escape(&unlinked(text));
    if text.matches('`').count() % 2 == 1 {
        return text;
    }
    let parts = text.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    });
    parts.collect()
}

/// The first sentence of an explanation behind its status, as plain text.
pub(super) fn first_sentence(explanation: &str) -> String {
    let text = explanation.split_once(". ").map_or("", |(_, text)| text);
    let text = unlinked(text).replace('`', "");
    text.split_once(". ").map_or(text.as_str(), |(first, _)| first).to_owned()
}

/// `[words](address)` as the words.
fn unlinked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, words, behind)) = link(rest) {
        out.push_str(before);
        out.push_str(words);
        rest = behind;
    }
    out + rest
}

fn link(text: &str) -> Option<(&str, &str, &str)> {
    let (until, behind) = text.split_once("](")?;
    let (before, words) = until.rsplit_once('[')?;
    let (_, behind) = behind.split_once(')')?;
    Some((before, words, behind))
}

pub(crate) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('\'', "&#39;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_without_its_marks() {
        for (text, expected) in [
            ("a `b` <c>", "a <code>b</code> &lt;c&gt;"),
            (
                "see [`names`](access.md#names), or [that](x.md).",
                "see <code>names</code>, or that.",
            ),
            ("`a", "`a"),
            ("a [b] (c)", "a [b] (c)"),
        ] {
            assert_eq!(formatted(text), expected);
        }
    }
}
