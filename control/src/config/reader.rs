//! Reading a tree into values without stopping at the first mistake.

use std::cell::RefCell;

use super::node::{Kind, Node};
use super::problem::{Located, Mark, Problem};

/// What a scalar should have been, and perhaps what to do.
pub(crate) struct Expected {
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Expected {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Collects problems. Shared by all readers of one file, hence the cell.
#[derive(Default)]
pub(crate) struct Sink {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

/// More would not be read by anyone, and a hostile file should not make a report larger than itself.
const MAX_PROBLEMS: usize = 100;

impl Sink {
    pub(crate) fn push(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < MAX_PROBLEMS {
            problems.push(problem);
        }
    }

    pub(crate) fn warn(&self, warning: Problem) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < MAX_PROBLEMS {
            warnings.push(warning);
        }
    }

    /// Something in a section could not be read: what refers to it cannot be judged.
    pub(crate) fn has_under(&self, section: &str) -> bool {
        self.problems.borrow().iter().any(|problem| problem.path.starts_with(section))
    }

    pub(crate) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }
}

/// A node together with its path and the sink: what every reading function is given.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) sink: &'a Sink,
    pub(crate) node: &'a Node,
    pub(crate) path: String,
}

impl<'a> Cursor<'a> {
    pub(crate) fn at(&self) -> Mark {
        self.node.at
    }

    pub(crate) fn error(&self, message: impl Into<String>) {
        self.sink.push(Problem::new(self.node.at, &self.path, message));
    }

    pub(crate) fn error_hint(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.sink.push(Problem::new(self.node.at, &self.path, message).hint(hint));
    }

    pub(crate) fn expected(&self, expected: Expected) {
        let mut problem = Problem::new(
            self.node.at,
            &self.path,
            format!("{}: expected {}, found {}", self.path, expected.what, self.node.found()),
        );
        problem.hint = expected.hint;
        self.sink.push(problem);
    }

    fn child(&self, node: &'a Node, step: &str) -> Self {
        let path = if self.path.is_empty() { step.to_owned() } else { format!("{}.{step}", self.path) };
        Cursor { sink: self.sink, node, path }
    }

    /// A scalar, read by `parse`.
    pub(crate) fn scalar<T>(&self, what: &str, parse: impl FnOnce(&str) -> Result<T, Expected>) -> Option<T> {
        match &self.node.kind {
            Kind::Text(text) => parse(text).map_err(|expected| self.expected(expected)).ok(),
            _ => {
                self.expected(Expected::new(what));
                None
            }
        }
    }

    /// A scalar and its place.
    pub(crate) fn located<T>(
        &self,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Option<Located<T>> {
        self.scalar(what, parse).map(|value| Located { value, at: self.at() })
    }

    /// The items of a list. A single scalar stands for a list of one, because `sources: 10.0.0.0/8` can mean nothing else.
    pub(crate) fn items(&self, what: &str) -> Vec<Cursor<'a>> {
        match &self.node.kind {
            Kind::List(items) => items.iter().enumerate().map(|(n, item)| self.indexed(item, n)).collect(),
            Kind::Text(_) => vec![self.clone()],
            Kind::Null => Vec::new(),
            Kind::Map(_) => {
                self.expected(Expected::new(format!("a list of {what}")));
                Vec::new()
            }
        }
    }

    /// The items of a list of mappings. A single mapping in place of the list is a frequent slip, so it is told apart.
    pub(crate) fn entries(&self, what: &str) -> Vec<Cursor<'a>> {
        match &self.node.kind {
            Kind::List(items) => items.iter().enumerate().map(|(n, item)| self.indexed(item, n)).collect(),
            Kind::Null => Vec::new(),
            Kind::Map(_) | Kind::Text(_) => {
                self.expected(
                    Expected::new(format!("a list of {what}"))
                        .hint(format!("put `- ` in front of each of the {what}")),
                );
                Vec::new()
            }
        }
    }

    fn indexed(&self, node: &'a Node, n: usize) -> Cursor<'a> {
        Cursor { sink: self.sink, node, path: format!("{}[{}]", self.path, n + 1) }
    }

    /// The entries of a mapping whose keys are names that the operator chose.
    pub(crate) fn named(&self, what: &str) -> Vec<(Located<String>, Cursor<'a>)> {
        let Kind::Map(entries) = &self.node.kind else {
            if !matches!(self.node.kind, Kind::Null) {
                self.expected(Expected::new(format!("a mapping from name to {what}")));
            }
            return Vec::new();
        };
        let mut named = Vec::new();
        for (key, value) in entries {
            if let Kind::Text(name) = &key.kind {
                named.push((Located { value: name.clone(), at: key.at }, self.child(value, name)));
            } else {
                self.child(key, "?").error(format!("expected the name of a {what}, found {}", key.found()));
            }
        }
        named
    }

    /// Whether it is a mapping, for values that may be something simpler.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    /// A mapping with known keys.
    pub(crate) fn map(&self, what: &'static str) -> Option<Fields<'a>> {
        match &self.node.kind {
            Kind::Map(entries) => Some(Fields { cursor: self.clone(), what, entries, known: Vec::new() }),
            _ => {
                self.expected(Expected::new(format!("a mapping with the keys of {what}")));
                None
            }
        }
    }
}

/// A mapping with known keys: each is asked for once, and at the end the ones nobody asked for are unknown.
pub(crate) struct Fields<'a> {
    pub(crate) cursor: Cursor<'a>,
    what: &'static str,
    entries: &'a [(Node, Node)],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value of a key; an empty value counts as absent, so that a section may be left empty.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        self.known.push(key);
        self.entries
            .iter()
            .find(|(name, value)| {
                matches!(&name.kind, Kind::Text(t) if t == key) && !matches!(value.kind, Kind::Null)
            })
            .map(|(_, value)| self.cursor.child(value, key))
    }

    /// As [`Fields::get`], and an error if it is absent.
    pub(crate) fn require(&mut self, key: &'static str, example: &str) -> Option<Cursor<'a>> {
        let found = self.get(key);
        if found.is_none() {
            let path = &self.cursor.path;
            let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
            self.cursor.error_hint(
                format!("{place}the key `{key}` is missing"),
                format!("add it, for example `{key}: {example}`"),
            );
        }
        found
    }

    /// The place of a key itself, for keys that are known but not accepted.
    pub(crate) fn key_mark(&self, key: &str) -> Option<Mark> {
        self.entries
            .iter()
            .find(|(name, _)| matches!(&name.kind, Kind::Text(t) if t == key))
            .map(|(name, _)| name.at)
    }

    /// Reports every key that nobody asked for, with the nearest known one.
    pub(crate) fn finish(self) {
        for (name, _) in self.entries {
            let Kind::Text(key) = &name.kind else {
                self.cursor.sink.push(Problem::new(
                    name.at,
                    &self.cursor.path,
                    format!("expected a key of {}, found {}", self.what, name.found()),
                ));
                continue;
            };
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let (message, hint) = match nearest(key, self.known.iter().copied()) {
                Some(near) => (format!("unknown key `{key}`, did you mean `{near}`?"), None),
                None => (
                    format!("unknown key `{key}` in {}", self.what),
                    Some(format!("known keys are {}", list(self.known.iter().copied()))),
                ),
            };
            let mut problem = Problem::new(name.at, &self.cursor.path, message);
            problem.hint = hint;
            self.cursor.sink.push(problem);
        }
    }
}

/// The candidate that a person most likely meant: a few letters changed, swapped, missing or too many, or the same beginning.
pub(crate) fn nearest<'c>(found: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let wanted = found.to_lowercase().replace('_', "-");
    let near = |candidate: &str| {
        let slips = strsim::damerau_levenshtein(&wanted, candidate);
        let alike = strsim::jaro_winkler(&wanted, candidate);
        (slips <= (candidate.chars().count() / 3).max(1) || alike >= 0.88).then_some(alike)
    };
    candidates
        .into_iter()
        // A hostile key of a megabyte is not worth the quadratic comparison.
        .filter(|candidate| wanted.len() <= candidate.len() + 16)
        .filter_map(|candidate| Some((near(candidate)?, candidate)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Names in backticks, for a message.
pub(crate) fn list<'c>(names: impl IntoIterator<Item = &'c str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
