//! The PROXY protocol, versions 1 and 2: where a connection comes from, before its first byte.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use instep_model::limits;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its end.
const LONGEST_V1: usize = 107;

/// Result of parsing the first bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// A header of so many bytes, and the client, if it says one.
    Header(usize, Option<SocketAddr>),
    /// The beginning of one.
    More,
    /// Something else.
    Bad,
}

/// Reads the header of a proxy, and nothing behind it: the client, or none when the proxy speaks
/// for itself. The caller says how long that may take.
///
/// # Errors
/// When something else comes, or the connection ends.
pub(crate) async fn read_proxy_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut bytes = [0; limits::PROXY_HEADER_BYTES];
    loop {
        let came = stream.peek(&mut bytes).await?;
        if came == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match parse(&bytes[..came]) {
            Parsed::Header(length, client) => {
                stream.read_exact(&mut bytes[..length]).await?;
                return Ok(client);
            }
            Parsed::More if came < bytes.len() => {
                // What has come is told again at once; the rest follows soon.
                tokio::time::sleep(Duration::from_millis(limits::PROXY_HEADER_AGAIN_MS)).await;
            }
            Parsed::More | Parsed::Bad => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn parse(bytes: &[u8]) -> Parsed {
    let begins = |whole: &[u8]| {
        let length = whole.len().min(bytes.len());
        whole[..length] == bytes[..length]
    };
    if begins(SIGNATURE) {
        return parse_v2(bytes);
    }
    if !begins(b"PROXY ") {
        return Parsed::Bad;
    }
    let line = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_V1 { Parsed::More } else { Parsed::Bad };
    };
    match std::str::from_utf8(&line[..end]).ok().and_then(read_v1) {
        Some(client) => Parsed::Header(end + 2, client),
        None => Parsed::Bad,
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 4711 443`, or `PROXY UNKNOWN …`.
fn read_v1(line: &str) -> Option<Option<SocketAddr>> {
    let mut parts = line.split(' ').skip(1);
    match parts.next()? {
        "UNKNOWN" => Some(None),
        family @ ("TCP4" | "TCP6") => {
            let source: IpAddr = parts.next()?.parse().ok()?;
            let port = parts.nth(1)?.parse().ok()?;
            (source.is_ipv4() == (family == "TCP4")).then_some(Some((source, port).into()))
        }
        _ => None,
    }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some((head, rest)) = bytes.split_at_checked(16) else { return Parsed::More };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let whole = 16 + length;
    let is_own = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Parsed::Bad,
    };
    let Some(said) = rest.get(..length) else { return Parsed::More };
    let port = |at: usize| u16::from_be_bytes([said[at], said[at + 1]]);
    let client = match (is_own, head[13] >> 4) {
        (true, _) | (false, 0 | 3) => None,
        (false, 1) if length >= 12 => {
            let source = Ipv4Addr::new(said[0], said[1], said[2], said[3]);
            Some(SocketAddr::from((source, port(8))))
        }
        (false, 2) if length >= 36 => {
            let mut source = [0; 16];
            source.copy_from_slice(&said[..16]);
            Some(SocketAddr::from((Ipv6Addr::from(source), port(32))))
        }
        (false, _) => return Parsed::Bad,
    };
    Parsed::Header(whole, client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, said: &[u8]) -> Vec<u8> {
        let length = u16::try_from(said.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, said].concat()
    }

    #[test]
    fn both_versions_say_where_a_connection_comes_from() {
        let four = "192.0.2.1:4711".parse().ok();
        let six = "[2001:db8::1]:4711".parse().ok();
        let mut said = vec![192, 0, 2, 1, 192, 0, 2, 2];
        said.extend_from_slice(&[0x12, 0x67, 1, 0xbb, 3, 0, 1, 9]);
        let binary = v2(0x21, 0x11, &said);
        let mut longer = Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]).octets().to_vec();
        longer.extend_from_slice(&[0; 16]);
        longer.extend_from_slice(&[0x12, 0x67, 1, 0xbb]);
        let own = v2(0x20, 0, &[]);

        assert_eq!(
            parse(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\nGET"),
            Parsed::Header(41, four)
        );
        assert_eq!(parse(b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n"), Parsed::Header(37, six));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Parsed::Header(15, None));
        assert_eq!(parse(&binary), Parsed::Header(binary.len(), four));
        assert_eq!(parse(&v2(0x21, 0x21, &longer)), Parsed::Header(52, six));
        assert_eq!(parse(&own), Parsed::Header(16, None));
        for length in 1..binary.len() {
            assert_eq!(parse(&binary[..length]), Parsed::More, "{length}");
        }
    }

    #[test]
    fn what_is_no_header_of_a_proxy_is_refused() {
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            &[b"PROXY TCP4 ", &[b'1'; 120][..]].concat(),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 4]),
        ] {
            assert_eq!(parse(bad), Parsed::Bad, "{}", String::from_utf8_lossy(bad));
        }
    }
}
