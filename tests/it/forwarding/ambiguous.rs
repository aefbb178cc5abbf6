//! Requests that two parsers could read differently: each is refused, and nothing after it is read.

use super::{recorded, stage};
use crate::support::wire::Wire;

/// The request that an attacker wants to smuggle to the dashboard.
const VICTIM: &[u8] = b"GET /victim HTTP/1.1\r\nHost: dash\r\n\r\n";

/// Heads that are refused. Each is a complete request, up to where it would end.
const HEADS: &[&[u8]] = &[
    // Two lengths, or a length and a coding.
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\nTRANSFER-ENCODING: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\nTransfer-Encoding:\tchunked\t\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:chunked\r\nContent-Length:5\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length:\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\nContent-Length: 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\ncontent-length: 05\r\n\r\nabcde\r\n\r\n\0",
    // Lengths that are not numbers.
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,2\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1.0\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1;\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\t1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"1\"\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \x0b1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\x0c\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\xa0\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ,1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 , 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\nContent-Length: 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: '1'\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0b1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0o1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1h\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1L\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xef\xbc\x91\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\xc2\xa0\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: - 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: --1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ++1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1/1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1#\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: NaN\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: inf\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\0\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \x85\x31\r\n\r\na",
    // Codings other than one chunked.
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun\xe7ked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked ;q=1\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, \r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: (x)chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunke\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: hunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x-chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked-x\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun ked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunk\xc3\xa9d\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: trailers\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: identity\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    // Names that a lenient parser would repair.
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost : a\r\nContent-Length: 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent Length: 1\r\n\r\na",
    b"POST / HTTP/1.1\r\n Host: a\r\nContent-Length: 1\r\n\r\na",
    b"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nno-colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\x7f: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\"X\": y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n : y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\t: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\tY: z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX[0]: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX/Y: z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX=Y: z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX@Y: z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX,Y: z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX;Y: z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n{X}: z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nGET /victim HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n Content-Length: 1\r\nHost: a\r\n\r\na",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\xa0: 1\r\n\r\na",
    b"GET / HTTP/1.1\r\nHost: a\r\n\xef\xbb\xbfContent-Length: 1\r\n\r\na",
    // Folded lines.
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n \r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n\tTransfer-Encoding: chunked\r\nHost: a\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\t\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n 0\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n",
    // Line ends, NUL and other controls.
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[0m\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\0\r\n\r\n",
    b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\n\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\n\rHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\r\r\n",
    b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\r: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\n: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX:\ry\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX:\ny\r\n\r\n",
    b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\n HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GE\rT / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP\r/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\rX: y\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\nX: y\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\rX: y\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\nX: y\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    // Request lines.
    b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET \t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\x0bHTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET\xa0/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\tGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET    /    HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1  \r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\"GET\" / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"{} / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET\x0c/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / http/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.01\r\nHost: a\r\n\r\n",
    b"GET / HTTP/01.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1,1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/ 1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1. 1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/+1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/-1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.x\r\nHost: a\r\n\r\n",
    b"GET / HTTP/x.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/2\r\nHost: a\r\n\r\n",
    b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1;x\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\t\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\0\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n",
    b"GET / Http/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP 1.1\r\nHost: a\r\n\r\n",
    b"GET / SIP/2.0\r\nHost: a\r\n\r\n",
    b"GET / ICY\r\nHost: a\r\n\r\n",
    b"GET / \xefHTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\r\nHost: a\r\n\r\n",
    b"GET / \r\nHost: a\r\n\r\n",
    b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    b"/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / XTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET\r\n\r\n",
    b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET relative HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET ?q HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET ../a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET # HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http:a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://#/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS */ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS *?x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET \\ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\x1f HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    // Hosts.
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [zz]\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a;b,c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: @a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a@\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a@b:80\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:80,b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a: 80\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a :80\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]:x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: []\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]]\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [[::1]]\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1%25eth0]\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 1:2:3:4\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a|b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: <a>\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a`b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: {a}\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a^b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: /\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: //a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a?\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: */*\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nHOST: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost:a\r\nHost: a\r\nhOST: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: u@a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a.\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: xa\r\n\r\n",
    b"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a?x HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a:81\r\n\r\n",
    b"GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\n\r\n",
    b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://user:pw@a/ HTTP/1.1\r\nHost: user:pw@a\r\n\r\n",
    b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a b/ HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Chunked bodies that are refused, after a valid head.
const CHUNKS: &[&[u8]] = &[
    b" 1\r\na\r\n0\r\n\r\n",
    b"1 \r\na\r\n0\r\n\r\n",
    b"1\t\r\na\r\n0\r\n\r\n",
    b"0x1\r\na\r\n0\r\n\r\n",
    b"+1\r\na\r\n0\r\n\r\n",
    b"-1\r\na\r\n0\r\n\r\n",
    b"1_0\r\na\r\n0\r\n\r\n",
    b"g\r\na\r\n0\r\n\r\n",
    b"\r\na\r\n0\r\n\r\n",
    b";x\r\na\r\n0\r\n\r\n",
    b"1 ;x\r\na\r\n0\r\n\r\n",
    b"1\0\r\na\r\n0\r\n\r\n",
    b"\xb2\r\na\r\n0\r\n\r\n",
    b"1\na\r\n0\r\n\r\n",
    b"1\ra\r\n0\r\n\r\n",
    b"1\r\r\na\r\n0\r\n\r\n",
    b"1;x\ny\r\na\r\n0\r\n\r\n",
    b"1;x\ry\r\na\r\n0\r\n\r\n",
    b"10000000000000001\r\na\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\na\r\n0\r\n\r\n",
    b"100000000\x30000000001\r\na\r\n0\r\n\r\n",
    b"1\r\nab\r\n0\r\n\r\n",
    b"1\r\na0\r\n\r\n",
    b"1\r\na\n0\r\n\r\n",
    b"1\r\na\r0\r\n\r\n",
    b"1\r\na\r\n\r\n0\r\n\r\n",
    b"1\r\na\r\n0\n\r\n",
    b"1\r\na\r\n0\r\n\n",
    b"1\r\na\r\n0\r\r\n\r\n",
    b"1\r\na\r\n0\r\nX: y\n\r\n",
    b"1\r\na\r\n0\r\nX: y\r\r\n\r\n",
    b"1\r\na\r\n0\r\nX: y\r\n z\r\n\r\n",
    b"1\r\na\r\n0\r\nX : y\r\n\r\n",
    b"1\r\na\r\n0\r\nno-colon\r\n\r\n",
    b"1\r\na\r\n0\r\nX: \0\r\n\r\n",
    b"1\r\na\r\n0\r\n: y\r\n\r\n",
    b"1\r\na\r\n0\r\n X: y\r\n\r\n",
    b"1\r\na\r\n0\r\nX y\r\n\r\n",
    b"1\r\na\r\n0\r\nX: y\nZ: 1\r\n\r\n",
    b"1\r\na\r\n0\r\nX: y\rZ: 1\r\n\r\n",
    b"1\r\na\r\n0\r\nX\0: y\r\n\r\n",
    b"1\r\na\r\n0\r\nX: \x7f\r\n\r\n",
    b"0x\r\na\r\n0\r\n\r\n",
    b"x1\r\na\r\n0\r\n\r\n",
    b"1h\r\na\r\n0\r\n\r\n",
    b"1.\r\na\r\n0\r\n\r\n",
    b"1,1\r\na\r\n0\r\n\r\n",
    b"\"1\"\r\na\r\n0\r\n\r\n",
    b"\t1\r\na\r\n0\r\n\r\n",
    b"\r\n1\r\na\r\n0\r\n\r\n",
    b"1\x0b\r\na\r\n0\r\n\r\n",
    b"\xef\xbc\x91\r\na\r\n0\r\n\r\n",
    b"--1\r\na\r\n0\r\n\r\n",
    b"-0\r\n\r\n",
    b"+0\r\n\r\n",
    b"0 \r\n\r\n",
    b" 0\r\n\r\n",
    b"0x0\r\n\r\n",
    b"7fffffffffffffff1\r\na\r\n0\r\n\r\n",
    b"10000000000000000\r\na\r\n0\r\n\r\n",
    b"fffffffffffffffff1\r\na\r\n0\r\n\r\n",
    b"1\r\n\r\na\r\n0\r\n\r\n",
    b"2\r\na\r\n0\r\n\r\n",
    b"1\r\na0\r\n\r\n0\r\n\r\n",
    b"1\r\na\n\r0\r\n\r\n",
    b"1\r\naX\r\n0\r\n\r\n",
    b"1\r\na\r\r\n0\r\n\r\n",
    b"1;\n\r\na\r\n0\r\n\r\n",
    b"1;a=\"\n\"\r\na\r\n0\r\n\r\n",
    b"1\n\r\na\r\n0\r\n\r\n",
    b"0;\n\r\n\r\n",
    b"0\n\n",
    b"0\r\n\n",
    b"0\r\r\n\r\n",
];

fn chunked(body: &[u8]) -> Vec<u8> {
    [b"POST /whole HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat()
}

/// Sends `bytes` and another request after them. Returns what is wrong with the response.
fn refused(client: &mut Wire, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<(), String> {
    for piece in pieces.chain([VICTIM]) {
        // The gate may stop reading once it has seen enough.
        if client.try_send(piece).is_err() {
            break;
        }
    }
    let answer = client.end().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let is_one = text.matches("HTTP/1.").count() == 1;
    let is_400 = ["HTTP/1.1 400 ", "HTTP/1.0 400 "].iter().any(|start| text.starts_with(start));
    if is_400 && is_one { Ok(()) } else { Err(text) }
}

/// Sends every row on a new connection; `prepare` first sends a valid request on it.
fn refuse_all(rows: &[Vec<u8>], piece_bytes: usize, prepare: impl Fn(&mut Wire)) -> Vec<String> {
    let (recorder, gate) = recorded();
    let mut faults = Vec::new();
    for row in rows {
        let attempt = || {
            let mut client = Wire::connect(gate.address);
            prepare(&mut client);
            refused(&mut client, &mut row.chunks(piece_bytes))
        };
        // After a request of HTTP/1.0 the gate just closes. Bytes that arrive later reset the connection, and with bad luck the
        // reset overtakes the response.
        let is_last = row.windows(8).any(|bytes| bytes == b"HTTP/1.0");
        let attempts = if is_last { 20 } else { 1 };
        let refused = (1..attempts).map(|_| attempt()).find(Result::is_ok).unwrap_or_else(attempt);
        if let Err(fault) = refused {
            faults.push(format!("{}\n    {fault:?}", row.escape_ascii()));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), rows.len(), faults.join("\n"));
    recorder.lines()
}

fn heads() -> Vec<Vec<u8>> {
    HEADS.iter().map(|head| head.to_vec()).collect()
}

#[test]
fn an_ambiguous_head_is_400_and_nothing_of_it_or_after_it_is_forwarded() {
    assert_eq!(refuse_all(&heads(), usize::MAX, |_| {}), [""; 0]);
}

#[test]
fn an_ambiguous_head_sent_byte_by_byte_is_400_too() {
    assert_eq!(refuse_all(&heads(), 1, |_| {}), [""; 0]);
}

#[test]
fn an_ambiguous_head_after_a_good_request_is_400_too() {
    let lines = refuse_all(&heads(), usize::MAX, |client| {
        client.get("/good");
        assert_eq!(client.answer().status(), 200);
    });
    assert!(lines.iter().all(|line| line == "GET /good HTTP/1.1"), "{lines:?}");
}

/// Positions for a control byte, and whether HTAB and space are forbidden there too.
const PLACES: [(&str, &str, bool); 9] = [
    ("G", "T / HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("GET /a", "b HTTP/1.1\r\nHost: a\r\n\r\n", true),
    ("GET / HTTP/1", ".1\r\nHost: a\r\n\r\n", true),
    ("GET / HTTP/1.1", "\r\nHost: a\r\n\r\n", true),
    ("GET / HTTP/1.1\r\nHost: a", "b\r\n\r\n", true),
    ("GET / HTTP/1.1\r\nHost: a\r\nX", "Y: z\r\n\r\n", true),
    ("GET / HTTP/1.1\r\nHost: a\r\nX", ": y\r\n\r\n", true),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y", "z\r\n\r\n", false),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length",
        ": 5\r\n\r\n0\r\n\r\n",
        true,
    ),
];

#[test]
fn a_control_byte_anywhere_in_a_head_is_400() {
    let rows: Vec<Vec<u8>> = PLACES
        .iter()
        .flat_map(|(before, behind, and_blanks)| {
            let bytes = (0..=b' ').chain([0x7f]);
            let bytes = bytes.filter(|byte| *and_blanks || !b"\t ".contains(byte));
            bytes.map(|byte| [before.as_bytes(), &[byte], behind.as_bytes()].concat())
        })
        .collect();
    assert_eq!(refuse_all(&rows, usize::MAX, |_| {}), [""; 0]);
}

#[test]
fn an_ambiguous_chunk_is_400_and_nothing_after_it_is_forwarded() {
    let rows: Vec<_> = CHUNKS.iter().map(|chunk| chunked(chunk)).collect();
    assert_eq!(refuse_all(&rows, usize::MAX, |_| {}), [""; 0], "no whole request arrives");
}

#[test]
fn an_ambiguous_chunk_sent_byte_by_byte_is_400_too() {
    let rows: Vec<_> = CHUNKS.iter().map(|chunk| chunked(chunk)).collect();
    assert_eq!(refuse_all(&rows, 1, |_| {}), [""; 0], "no whole request arrives");
}

#[test]
fn a_good_request_before_an_ambiguous_one_in_the_same_packet_is_answered() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    let ambiguous = chunked(b"1 \r\na\r\n0\r\n\r\n");
    client.send([b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n", &ambiguous[..], VICTIM].concat());
    assert_eq!(client.answer().text(), "dashboard");
    assert_eq!(client.answer().status(), 400);
    client.ends();
    assert_eq!(recorder.lines(), ["GET /good HTTP/1.1"]);
}

#[test]
fn an_ambiguous_chunk_aborts_the_request_to_the_dashboard() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    client.send(chunked(b"5\r\nhello\r\n"));
    let mut call = origin.accept();
    assert_eq!(call.head().start, "POST /whole HTTP/1.1");
    assert_eq!(call.chunk(), b"hello");
    client.send(b"0x0\r\n\r\n");
    call.ends();
    assert_eq!(client.answer().status(), 400);
    client.ends();
}

#[test]
fn empty_lines_before_a_request_are_accepted() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    client.send("\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((client.answer().status(), client.answer().status()), (200, 200));
    assert_eq!(recorder.lines(), ["GET /a HTTP/1.1", "GET /b HTTP/1.1"]);
}
