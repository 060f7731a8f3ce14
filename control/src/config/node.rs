//! The YAML file as a tree in which every node knows its place.
//!
//! Deserialising straight into the typed model was tried first: it stops at the first error and loses the text of
//! plain scalars (`1024-65535`, `off`, `64:ff9b::/96` and `022` all become something else in some YAML dialect).
//! So serde-saphyr parses, bounds aliases and reports syntax errors; what a scalar means is decided by the reader of its key.

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::problem::{Mark, Problem};

/// Largest configuration file that is read: about 100,000 static bindings.
pub(crate) const MAX_FILE: usize = 16 << 20;

/// A node of the file.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Mark,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Text(String),
    List(Vec<Node>),
    /// Keys in the order of the file.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What stands there, for the "found" half of a message.
    pub(crate) fn found(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Text(text) if text.chars().count() > 60 => {
                format!("`{}…`", text.chars().take(60).collect::<String>().escape_debug())
            }
            Kind::Text(text) => format!("`{}`", text.escape_debug()),
            Kind::List(items) if items.is_empty() => "an empty list".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Parses a file. An empty one is an empty mapping.
pub(crate) fn parse(source: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 16,
            max_nodes: 2_000_000,
            max_events: 4_000_000,
            max_aliases: 4096,
            max_anchors: 4096,
        },
        // An alias bomb of a few hundred bytes would otherwise become gigabytes of nodes.
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 8,
        },
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        // `!env`, `!include` and the like mean something to other programs; ignoring them would surprise.
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(source, options) {
        Ok(root) => Ok(place(root, source)),
        Err(error) => Err(syntax_problem(&error)),
    }
}

fn syntax_problem(error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let at = error.location().map_or(Mark::START, |location| mark(&location));
    let text = error.to_string();
    // serde-saphyr may append its own position and further lines; ours stands in front already.
    let mut first = text.lines().next().unwrap_or("not YAML").trim();
    if let Some(cut) = first.rfind(" at line ") {
        first = first[..cut].trim_end_matches([',', ':']);
    }
    let first = first.strip_prefix("error: ").unwrap_or(first);
    Problem::new(at, "", format!("this is not valid YAML: {first}"))
        .hint("check the indentation, quotes and brackets of this line and of the one before")
}

fn mark(location: &Location) -> Mark {
    let length = location.span().len();
    Mark {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX).max(1),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX).max(1),
        length: u32::try_from(length).unwrap_or(1).clamp(1, 200),
    }
}

/// What serde-saphyr made of a node, before scalars are given their text back.
enum Raw {
    Null,
    Text(String),
    /// A plain scalar that the parser took for a number or a boolean; the source has its text.
    Typed(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn place(spanned: Spanned<Raw>, source: &str) -> Node {
    let kind = match spanned.value {
        Raw::Null => Kind::Null,
        Raw::Text(text) => Kind::Text(text),
        Raw::Typed(typed) => Kind::Text(plain_text(&spanned.defined, source).unwrap_or(typed)),
        Raw::List(items) => Kind::List(items.into_iter().map(|item| place(item, source)).collect()),
        Raw::Map(entries) => Kind::Map(
            entries.into_iter().map(|(key, value)| (place(key, source), place(value, source))).collect(),
        ),
    };
    Node { at: mark(&spanned.referenced), kind }
}

fn plain_text(location: &Location, source: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(length)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(node: &'a Node, key: &str) -> &'a Node {
        let Kind::Map(entries) = &node.kind else { panic!("not a mapping: {node:?}") };
        &entries.iter().find(|(k, _)| matches!(&k.kind, Kind::Text(t) if t == key)).unwrap().1
    }

    #[test]
    fn plain_scalars_keep_the_text_of_the_file() {
        let cases = [
            "300",
            "022",
            "off",
            "0x10",
            "1.50",
            "64:ff9b::/96",
            "1024-65535",
            "10.0.0.0/8",
            "1e3",
            "5m",
            "2001:db8::1",
            "yes",
            "-5",
            "99999999999999999999999999",
            ".inf",
            "1:30",
        ];
        for text in cases {
            let tree = parse(&format!("# a comment\nkey:   {text}\n")).unwrap();
            let node = value(&tree, "key");
            assert!(matches!(&node.kind, Kind::Text(t) if t == text), "{text}: {node:?}");
            assert_eq!((node.at.line, node.at.column), (2, 8), "{text}");
        }
    }

    #[test]
    fn keys_lists_and_aliases_know_their_place() {
        let tree = parse("a: &x [1, 0b1]\nb: *x\n300: {c: 'q: r'}\n").unwrap();
        let Kind::List(items) = &value(&tree, "b").kind else { panic!() };
        assert!(matches!(&items[1].kind, Kind::Text(t) if t == "0b1"), "{items:?}");
        assert_eq!(value(&tree, "b").at.line, 2);
        let inner = value(value(&tree, "300"), "c");
        assert!(matches!(&inner.kind, Kind::Text(t) if t == "q: r"));
    }

    #[test]
    fn an_alias_bomb_is_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
        }
        let start = std::time::Instant::now();
        let problem = parse(&bomb).unwrap_err();
        assert!(problem.message.contains("alias"), "{}", problem.message);
        // Expanded, it would not end at all.
        assert!(start.elapsed().as_secs() < 30);
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        let problem = parse("interfaces:\n  inside: [1, 2\nx: y\n").unwrap_err();
        assert!(problem.at.line >= 2, "{problem:?}");
        assert!(problem.message.starts_with("this is not valid YAML: "), "{}", problem.message);
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
        assert!(parse("a: 1\na: 2\n").is_err());
    }
}
