//! A row of a long table, cell by cell into one buffer.
//!
//! Formatting is what a table of a million sessions takes its time for: 1.2 s if every cell goes through [`std::fmt`], 0.7 s
//! if numbers and IPv4 addresses do not (docs/sessions-cost.md).

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

/// What parts two columns.
const GAP: &[u8] = b"  ";

/// A line under way. Its buffer is kept for the next.
#[derive(Default)]
pub(crate) struct Line {
    text: Vec<u8>,
    /// Where the present cell begins.
    cell: usize,
}

impl Line {
    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.cell = 0;
    }

    /// The line, without its end.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Ends a cell that stands at the left of its column.
    pub(crate) fn left(&mut self, width: usize) {
        let end = self.text.len().max(self.cell + width);
        self.text.resize(end, b' ');
        self.gap();
    }

    /// Ends a cell that stands at the right of its column.
    pub(crate) fn right(&mut self, width: usize) {
        let end = self.text.len();
        let pad = (self.cell + width).saturating_sub(end);
        self.text.resize(end + pad, b' ');
        self.text[self.cell..].rotate_right(pad);
        self.gap();
    }

    /// Ends the line.
    pub(crate) fn end(&mut self) {
        self.text.truncate(self.text.len().saturating_sub(GAP.len()));
        self.text.push(b'\n');
    }

    pub(crate) fn number(&mut self, n: u32) {
        if n >= 10 {
            self.number(n / 10);
        }
        self.text.push(b'0' + (n % 10) as u8);
    }

    pub(crate) fn ipv4(&mut self, address: Ipv4Addr) {
        let [a, b, c, d] = address.octets();
        self.number(a.into());
        for octet in [b, c, d] {
            self.text.push(b'.');
            self.number(octet.into());
        }
    }

    /// Address and port, an IPv6 address in brackets.
    pub(crate) fn endpoint(&mut self, address: IpAddr, port: u16) -> fmt::Result {
        match address {
            IpAddr::V4(address) => self.ipv4(address),
            //= conformance ADDR-23
            IpAddr::V6(address) => write!(self, "[{address}]")?,
        }
        self.text.push(b':');
        self.number(port.into());
        Ok(())
    }

    fn gap(&mut self) {
        self.text.extend_from_slice(GAP);
        self.cell = self.text.len();
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut Line)) -> String {
        let mut line = Line::default();
        write(&mut line);
        String::from_utf8(line.text().to_vec()).unwrap()
    }

    #[test]
    fn cells_stand_left_and_right_and_may_be_too_wide() {
        let text = shown(|line| {
            for width in [5, 2] {
                line.number(123);
                line.left(width);
                line.number(456);
                line.right(width);
            }
            line.end();
        });
        assert_eq!(text, "123      456  123  456\n");
    }

    #[test]
    fn numbers_and_addresses_are_written_as_the_standard_library_does() {
        for n in [0, 9, 10, 99, 100, 65_535, u32::MAX] {
            assert_eq!(shown(|line| line.number(n)), n.to_string());
            let address = Ipv4Addr::from_bits(n);
            assert_eq!(shown(|line| line.ipv4(address)), address.to_string());
        }
        //= conformance ADDR-23
        for endpoint in [
            "192.0.2.1:0",
            "[2001:db8::5]:443",
            "[::]:65535",
            "[2001:db8:64::c633:6409]:1",
            "[1::2:0:0:3:4]:2",
        ] {
            let socket: std::net::SocketAddr = endpoint.parse().unwrap();
            let text = shown(|line| line.endpoint(socket.ip(), socket.port()).unwrap());
            assert_eq!(text, endpoint);
        }
    }

    #[test]
    fn a_cleared_line_begins_at_its_first_column() {
        let text = shown(|line| {
            line.number(1);
            line.left(4);
            line.clear();
            line.number(2);
            line.right(4);
            line.end();
        });
        assert_eq!(text, "   2\n");
    }
}
