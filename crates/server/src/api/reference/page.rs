//! The pages of the reference.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::schema;

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
nav ul{list-style:none;margin:0 0 .5rem;padding:0 0 0 1rem}\
nav summary{font-weight:600;cursor:pointer}\
.m{font-weight:700}.t{opacity:.75}\
@media(max-width:40rem){dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 .6rem 1rem}}\
@media(min-width:64rem){body.toc{display:grid;\
grid-template:\"n h\" auto \"n m\" 1fr/17rem minmax(0,1fr);\
column-gap:2.5rem}.toc>header{grid-area:h}.toc>main{grid-area:m}\
.toc>nav{grid-area:n;position:sticky;top:0;align-self:start;max-height:100vh;\
overflow:auto;font-size:.9rem}}";

/// Parts of the reference, by their tags, in the order of a first visit.
const PARTS: [(&str, &str); 7] = [
    ("commits", "Commits"),
    ("rows", "Rows"),
    ("changes", "Changes"),
    ("topics", "Topics"),
    ("mail", "Mail"),
    ("datasets", "Datasets"),
    ("tables", "Tables and journals"),
];

/// A whole page with this content, which has a table of contents or not.
pub(crate) fn framed(title: &str, has_contents: bool, content: &str) -> String {
    let class = if has_contents { " class=toc" } else { "" };
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport \
         content='width=device-width,initial-scale=1'><title>{title}</title><style>{STYLE}</style>\
         </head><body{class}>{content}</body></html>"
    )
}

/// The page of all operations and shapes.
pub(super) fn reference(document: &Value) -> String {
    let mut contents = String::from("<nav aria-label=Contents>");
    let mut parts = String::new();
    for (tag, title, operations) in by_part(document) {
        let _ = write!(contents, "<details open><summary>{title}</summary><ul>");
        let _ = write!(parts, "<h2 id='part-{tag}'>{title}</h2>");
        for Operation { id, method, path, said } in operations {
            let summary = begin_of(said["summary"].as_str().unwrap_or_default());
            let _ = write!(contents, "<li><a href='#{id}'>{}</a>", formatted(summary));
            section(&mut parts, (&id, method, path), said);
        }
        contents.push_str("</ul></details>");
    }
    contents.push_str("<details><summary>Shapes</summary><ul>");
    parts.push_str("<h2 id=part-shapes>Shapes</h2>");
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    for (name, said) in schemas {
        let _ = write!(contents, "<li><a href='#shape-{name}'>{name}</a>");
        let _ = write!(parts, "<section id='shape-{name}'><h3><code>{name}</code></h3>");
        schema::describe(&mut parts, said);
        parts.push_str("</section>");
    }
    contents.push_str("</ul></details></nav>");
    let begin = format!(
        "<header><h1>Instep API reference</h1><p>{}</p><p><a href=openapi.json>OpenAPI \
         document</a> · <a href=reference/errors>Error codes</a></p></header>",
        markup(&document["info"]["description"])
    );
    framed("Instep API reference", true, &format!("{begin}{contents}<main>{parts}</main>"))
}

/// The page of error codes.
pub(super) fn errors(explained: impl Iterator<Item = (&'static str, String)>) -> String {
    let mut out =
        String::from("<main><h1>Error codes</h1><p><a href=../reference>API reference</a></p>");
    for (code, text) in explained {
        let text = formatted(&text);
        let _ = write!(out, "<section id={code}><h3><code>{code}</code></h3><p>{text}</section>");
    }
    framed("Instep error codes", false, &format!("{out}</main>"))
}

struct Operation<'a> {
    id: String,
    method: &'a str,
    path: &'a str,
    said: &'a Value,
}

/// Operations by their parts; those of tags that are not named come last.
fn by_part(document: &Value) -> Vec<(String, String, Vec<Operation<'_>>)> {
    let mut by_tag: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, said) in methods.as_object().into_iter().flatten() {
            let tag = said["tags"][0].as_str().unwrap_or("other");
            let id = escape(said["operationId"].as_str().unwrap_or(path));
            by_tag.entry(tag).or_default().push(Operation { id, method, path, said });
        }
    }
    let mut parts = vec![];
    for (tag, title) in PARTS {
        if let Some(operations) = by_tag.remove(tag) {
            parts.push((tag.to_owned(), title.to_owned(), operations));
        }
    }
    for (tag, operations) in by_tag {
        let mut title = tag.to_owned();
        title[..1].make_ascii_uppercase();
        parts.push((escape(tag), escape(&title), operations));
    }
    parts
}

fn section(out: &mut String, (id, method, path): (&str, &str, &str), said: &Value) {
    let (method, path) = (escape(&method.to_uppercase()), escape(path));
    let _ = write!(
        out,
        "<section id='{id}'><h3><code><span class=m>{method}</span> {path}</code></h3><p>{} {}</p>",
        markup(&said["summary"]),
        markup(&said["description"])
    );
    out.push_str("<dl>");
    for parameter in said["parameters"].as_array().into_iter().flatten() {
        let name = escape(parameter["name"].as_str().unwrap_or_default());
        let place = escape(parameter["in"].as_str().unwrap_or_default());
        let kind = schema::kind(&parameter["schema"]);
        let text = markup(&parameter["description"]);
        let _ =
            write!(out, "<dt><code>{name}</code><dd><span class=t>{place}, {kind}.</span> {text}");
    }
    if let Some(kind) = content(&said["requestBody"]) {
        let _ = write!(out, "<dt>Body<dd>{kind}");
    }
    for (status, response) in said["responses"].as_object().into_iter().flatten() {
        let text = markup(&response["description"]);
        let kind = content(response).map(|kind| format!(": {kind}")).unwrap_or_default();
        let _ = write!(out, "<dt>{}<dd>{text}{kind}", escape(status));
    }
    out.push_str("</dl></section>");
}

/// Type of a body: its shape, or its media type.
fn content(carrier: &Value) -> Option<String> {
    let (media, said) = carrier["content"].as_object()?.iter().next()?;
    Some(match media.as_str() {
        "application/json" | "application/problem+json" => schema::kind(&said["schema"]),
        other => format!("<code>{}</code>", escape(other)),
    })
}

/// Beginning of a summary, before it goes into particulars.
fn begin_of(summary: &str) -> &str {
    let ends = [": ", ". ", ", with", ", or"].map(|end| summary.find(end));
    let end = ends.into_iter().flatten().min().unwrap_or(summary.len());
    summary[..end].trim_end_matches('.')
}

/// A text of the document.
pub(super) fn markup(text: &Value) -> String {
    formatted(text.as_str().unwrap_or_default())
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
