//! Where a request of HTTP/1 begins and ends, read more strictly than the server behind does.
//!
//! Two readers of the same bytes that disagree about where a request ends are how requests are smuggled past a proxy. So what
//! can be read in two ways is refused before anybody reads it at all: lines that end in anything but CR LF, folded lines, white
//! space before a colon, two lengths or a length and chunks, encodings other than `chunked`, no `Host` or two, a target that
//! names another host. What passes has one meaning.
//!
//! Order of checks: line ends, request line, each header by itself, then what they say together.

/// How the body of a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Digits of a length: none is beyond 64 bits.
const MAX_LENGTH_DIGITS: usize = 18;
/// Hexadecimal digits of a chunk's length.
const MAX_CHUNK_DIGITS: usize = 15;
/// Bytes of a line that frames a chunk, and of all trailers together.
const MAX_CHUNK_LINE: usize = 1 << 10;

/// The end of a head in `bytes`, which were looked at up to `seen` before. An error is that it will never be one.
pub(super) fn end(bytes: &[u8], seen: usize) -> Result<Option<usize>, &'static str> {
    let before = |at: usize, back: usize| at.checked_sub(back).and_then(|at| bytes.get(at));
    for (at, byte) in bytes.iter().enumerate().skip(seen) {
        match byte {
            b'\n' if before(at, 1) != Some(&b'\r') => return Err("a line ends without a carriage return"),
            b'\n' if before(at, 2) == Some(&b'\n') => return Ok(Some(at + 1)),
            b'\n' | b'\r' | b'\t' => {}
            _ if before(at, 1) == Some(&b'\r') => return Err("a carriage return is within a line"),
            0..0x20 | 0x7f => return Err("a control character is in the head"),
            _ => {}
        }
    }
    Ok(None)
}

/// What a whole head says about the body.
pub(super) fn check(head: &[u8]) -> Result<Body, &'static str> {
    let mut lines = head.strip_suffix(b"\r\n\r\n").ok_or("the head has no end")?.split(|byte| *byte == b'\n');
    let line = |line: &'_ [u8]| -> usize { line.strip_suffix(b"\r").unwrap_or(line).len() };
    let first = lines.next().unwrap_or_default();
    let first = first.get(..line(first)).unwrap_or_default();
    let (method, target, is_11) = request_line(first)?;
    let (mut host, mut length, mut chunked) = (None, None, false);
    for text in lines {
        let text = text.get(..line(text)).unwrap_or_default();
        let colon = text.iter().position(|byte| *byte == b':').ok_or("a header has no colon")?;
        let (name, value) = text.split_at(colon);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            // Also a line that goes on from the one before, and white space before the colon.
            return Err("a header's name is none");
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"host") && host.replace(value).is_some() {
            return Err("there are two hosts");
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if value.is_empty() || value.len() > MAX_LENGTH_DIGITS || !value.iter().all(u8::is_ascii_digit) {
                return Err("the content's length is no number");
            }
            let number = value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
            if length.replace(number).is_some() {
                return Err("there are two lengths of the content");
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") || chunked || !is_11 {
                return Err("the transfer encoding is something else than chunked, once, in HTTP/1.1");
            }
            chunked = true;
        }
    }
    if chunked && length.is_some() {
        return Err("the body has a length and chunks");
    }
    check_target(method, target, host, is_11)?;
    Ok(if chunked { Body::Chunked } else { Body::Length(length.unwrap_or(0)) })
}

fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], bool), &'static str> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the request line is none");
    };
    if method.is_empty() || method.len() > 32 || !method.iter().all(|byte| is_token(*byte)) {
        return Err("the method is none");
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) || target.contains(&b'#') {
        return Err("the target is none");
    }
    match version {
        b"HTTP/1.1" => Ok((method, target, true)),
        b"HTTP/1.0" => Ok((method, target, false)),
        _ => Err("the version is none"),
    }
}

fn check_target(method: &[u8], target: &[u8], host: Option<&[u8]>, is_11: bool) -> Result<(), &'static str> {
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    match host {
        None if is_11 => return Err("there is no host"),
        Some(host) if !host.iter().all(is_host) => return Err("the host is none"),
        _ => {}
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") || method == b"CONNECT" {
        return Ok(());
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let rest = scheme.and_then(|scheme| target.get(scheme.len()..)).ok_or("the target is neither a path nor a URL")?;
    let authority = rest.split(|byte| b"/?".contains(byte)).next().unwrap_or_default();
    if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) || !authority.iter().all(is_host) {
        return Err("the target names another host");
    }
    Ok(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A body in chunks, followed byte by byte.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Chunks {
    /// In the line with a chunk's length.
    #[default]
    Start,
    Size {
        digits: usize,
        size: u64,
    },
    /// In what may follow the length, of which so many bytes were seen.
    Extension {
        size: u64,
        seen: usize,
    },
    SizeEnd(u64),
    /// So many bytes of the chunk are to come.
    Data(u64),
    DataEnd,
    DataEndLine,
    /// Behind the last chunk: at the start of a line, or within a trailer, of which all so many bytes were seen.
    TrailerStart(usize),
    Trailer(usize),
    TrailerEnd(usize),
    LastEnd,
}

/// What comes next of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes belong to it, and more is to come.
    More(usize),
    /// So many bytes belong to it, of which the last so many are to be left out.
    Skip(usize),
    /// So many bytes belong to it, and that was all.
    Done(usize),
}

impl Chunks {
    /// Goes over bytes, as far as they are of one kind.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step, &'static str> {
        if let Self::Data(left) = self {
            let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            *left -= taken as u64;
            if *left == 0 {
                *self = Self::DataEnd;
            }
            return Ok(Step::More(taken));
        }
        let Some(&byte) = bytes.first() else { return Ok(Step::More(0)) };
        let bad = Err("a chunk is framed wrongly");
        let after_size = |size: u64| if size == 0 { Self::TrailerStart(0) } else { Self::Data(size) };
        // A trailer says nothing that anybody here reads.
        let mut skip = false;
        *self = match (*self, byte) {
            (Self::Start, byte) if byte.is_ascii_hexdigit() => Self::Size { digits: 1, size: digit(byte) },
            (Self::Size { digits, size }, byte) if byte.is_ascii_hexdigit() && digits < MAX_CHUNK_DIGITS => {
                Self::Size { digits: digits + 1, size: size << 4 | digit(byte) }
            }
            (Self::Size { size, .. } | Self::Extension { size, .. }, b'\r') => Self::SizeEnd(size),
            (Self::Size { size, .. }, b';') => Self::Extension { size, seen: 1 },
            (Self::Extension { size, seen }, byte) if is_text(byte) && seen < MAX_CHUNK_LINE => {
                Self::Extension { size, seen: seen + 1 }
            }
            (Self::SizeEnd(size), b'\n') => after_size(size),
            (Self::DataEnd, b'\r') => Self::DataEndLine,
            (Self::DataEndLine, b'\n') => Self::Start,
            (Self::TrailerStart(_), b'\r') => Self::LastEnd,
            (Self::LastEnd, b'\n') => return Ok(Step::Done(1)),
            (Self::TrailerStart(seen), byte) if is_token(byte) => {
                skip = true;
                Self::Trailer(seen + 1)
            }
            (Self::Trailer(seen), byte) if is_text(byte) && seen < MAX_CHUNK_LINE => {
                skip = true;
                Self::Trailer(seen + 1)
            }
            (Self::Trailer(seen), b'\r') => {
                skip = true;
                Self::TrailerEnd(seen)
            }
            (Self::TrailerEnd(seen), b'\n') => {
                skip = true;
                Self::TrailerStart(seen)
            }
            _ => return bad,
        };
        Ok(if skip { Step::Skip(1) } else { Step::More(1) })
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

fn digit(byte: u8) -> u64 {
    u64::from(char::from(byte).to_digit(16).unwrap_or(0))
}

#[cfg(test)]
mod tests;
