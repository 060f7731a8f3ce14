//! IPFIX messages (RFC 7011): one transport session to one collector.
//!
//! ```text
//! message: version 10 u16 | length u16 | export time s u32 | sequence u32 | observation domain u32 | sets
//! set:     id u16 | length u16 | templates (id 2) or data records (id of their template)
//! ```

use super::record::{Options, Record, Shape, Value};

const VERSION: u16 = 10;
const TEMPLATE_SET: u16 = 2;
const HEADER: usize = 16;
const SET_HEADER: usize = 4;
/// Length of an element that says its length in every record.
const VARIABLE: u16 = 65_535;

/// Makes messages, one at a time.
#[derive(Debug)]
pub(crate) struct Stream {
    domain: u32,
    options: Options,
    /// Octets of a message at most.
    most: usize,
    /// Data records so far.
    sequence: u32,
    message: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(domain: u32, options: Options, most: usize) -> Self {
        Self { domain, options, most, sequence: 0, message: Vec::with_capacity(most) }
    }

    /// Begins a transport session.
    pub(crate) fn restart(&mut self) {
        self.sequence = 0;
    }

    /// The message that was made last.
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Makes a message of as many of the templates as fit. Says how many.
    //= conformance LOG-02, LOG-03
    pub(crate) fn templates(&mut self, shapes: &[Shape], export_time: u32) -> usize {
        self.begin(export_time);
        let set = self.begin_set(TEMPLATE_SET);
        let mut taken = 0;
        for shape in shapes {
            let before = self.message.len();
            let count = shape.elements(self.options).count() as u16;
            self.u16(shape.template());
            self.u16(count);
            for element in shape.elements(self.options) {
                self.u16(element.id());
                self.u16(element.octets().unwrap_or(VARIABLE));
            }
            if self.message.len() > self.most && taken > 0 {
                self.message.truncate(before);
                break;
            }
            taken += 1;
        }
        self.end_set(set);
        self.end();
        taken
    }

    /// Makes a message of as many of the records as fit. Says how many were used up, and how many of these are in it: some have
    /// no template, and there may be none that has.
    //= conformance LOG-01, LOG-04
    pub(crate) fn records(&mut self, records: &[Record], export_time: u32) -> (usize, usize) {
        self.begin(export_time);
        let (mut taken, mut written) = (0, 0);
        let mut open: Option<(Shape, usize)> = None;
        for record in records {
            let Some(shape) = record.shape() else {
                taken += 1;
                continue;
            };
            let before = self.message.len();
            let set = match open {
                Some((same, set)) if same == shape => set,
                _ => self.begin_set(shape.template()),
            };
            for element in shape.elements(self.options) {
                let value = record.value(element, self.options);
                self.value(value, element.octets());
            }
            if self.message.len() > self.most && written > 0 {
                self.message.truncate(before);
                break;
            }
            if let Some((_, previous)) = open
                && previous != set
            {
                self.close_set(previous, before);
            }
            open = Some((shape, set));
            (taken, written) = (taken + 1, written + 1);
        }
        if let Some((_, set)) = open {
            self.end_set(set);
        }
        self.end();
        self.sequence = self.sequence.wrapping_add(written as u32);
        (taken, written)
    }

    fn begin(&mut self, export_time: u32) {
        self.message.clear();
        self.u16(VERSION);
        self.u16(0);
        self.message.extend(export_time.to_be_bytes());
        self.message.extend(self.sequence.to_be_bytes());
        //= conformance LOG-24
        self.message.extend(self.domain.to_be_bytes());
        debug_assert_eq!(self.message.len(), HEADER);
    }

    fn end(&mut self) {
        let length = self.message.len() as u16;
        self.message[2..4].copy_from_slice(&length.to_be_bytes());
    }

    fn begin_set(&mut self, id: u16) -> usize {
        let set = self.message.len();
        self.u16(id);
        self.u16(0);
        set
    }

    fn end_set(&mut self, set: usize) {
        self.close_set(set, self.message.len());
    }

    fn close_set(&mut self, set: usize, end: usize) {
        let length = (end - set) as u16;
        self.message[set + 2..set + SET_HEADER].copy_from_slice(&length.to_be_bytes());
    }

    fn u16(&mut self, value: u16) {
        self.message.extend(value.to_be_bytes());
    }

    fn value(&mut self, value: Value<'_>, octets: Option<u16>) {
        match value {
            Value::Number(number) => {
                let octets = usize::from(octets.unwrap_or(8)).min(8);
                self.message.extend(&number.to_be_bytes()[8 - octets..]);
            }
            Value::V4(address) => self.message.extend(address.to_be_bytes()),
            Value::V6(address) => self.message.extend(address.to_be_bytes()),
            Value::Text(text) => {
                // Names are cut to less than 255 octets where records are made; this is the short form of a length.
                let text = &text.as_bytes()[..text.len().min(254)];
                self.message.push(text.len() as u8);
                self.message.extend(text);
            }
        }
    }
}
