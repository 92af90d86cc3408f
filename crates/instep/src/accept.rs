//! Content negotiation: the form of an answer that a client would rather have (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

/// The one of `offered` that a request wants most; the first of them where it says nothing, or
/// wants none.
pub(crate) fn preferred(headers: &HeaderMap, offered: &[&'static str]) -> &'static str {
    let said = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accept = said.collect::<Vec<_>>().join(",");
    let mut best = (0, offered[0]);
    for media in offered {
        let weight = weight(&accept, media);
        if weight > best.0 {
            best = (weight, media);
        }
    }
    best.1
}

/// Quality of a media type in an `Accept` header, in thousandths. The most specific range decides.
fn weight(accept: &str, media: &str) -> u16 {
    let kind = media.split('/').next().unwrap_or_default();
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let wanted = parts.next().unwrap_or_default();
        let precision = match wanted.split_once('/') {
            _ if wanted.eq_ignore_ascii_case(media) => 3,
            Some((major, "*")) if major.eq_ignore_ascii_case(kind) => 2,
            Some(("*", "*")) => 1,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
        best = best.max((precision, weight));
    }
    best.1
}

fn thousandths(weight: &str) -> u16 {
    // Between 0 and 1, or it means nothing.
    weight.parse::<f32>().map_or(0, |weight| (weight.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_given_the_form_that_it_wants_most() {
        const TEXT: &str = "text/plain";
        const OPEN: &str = "application/openmetrics-text";
        let given = |accept: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            preferred(&headers, &[TEXT, OPEN])
        };

        for (accept, expected) in [
            (None, TEXT),
            (Some("*/*"), TEXT),
            (Some("image/png"), TEXT),
            (Some("text/plain;q=0.5, application/openmetrics-text;q=0.4"), TEXT),
            (Some("text/*, application/openmetrics-text;q=0.4"), TEXT),
            (Some(OPEN), OPEN),
            (Some("text/plain;q=0, */*;q=0.1"), OPEN),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                     version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                OPEN,
            ),
        ] {
            assert_eq!(given(accept), expected, "{accept:?}");
        }
    }
}
