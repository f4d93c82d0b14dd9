//! Where in an object a check stands: a chain of steps on the stack, written out only when something is wrong.

use std::fmt;

/// One step from the parent.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    /// Adds nothing: of the root.
    None,
    /// `.name`
    Field(&'a str),
    /// `[3]`
    Index(usize),
    /// `[key]`
    Key(&'a str),
}

/// The way from the root of the object, as in `spec.list[0].name`.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

impl<'a> Path<'a> {
    /// The object itself, written as the empty string.
    pub const ROOT: Path<'static> = Path {
        parent: None,
        step: Step::None,
    };

    /// A root that is written as `text`: what is inside follows after a dot.
    pub fn starting(text: &'a str) -> Self {
        Self {
            parent: None,
            step: Step::Field(text),
        }
    }

    pub fn field(&'a self, name: &'a str) -> Self {
        self.then(Step::Field(name))
    }

    pub fn index(&'a self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    pub fn key(&'a self, key: &'a str) -> Self {
        self.then(Step::Key(key))
    }

    pub fn is_root(&self) -> bool {
        matches!(self.step, Step::None)
    }

    /// The root is `<nil>` in error messages, as in Go.
    pub fn or_nil(&self) -> String {
        if self.is_root() {
            "<nil>".to_owned()
        } else {
            self.to_string()
        }
    }

    fn then(&'a self, step: Step<'a>) -> Self {
        Self {
            parent: Some(self),
            step,
        }
    }

    fn is_start(&self) -> bool {
        match self.parent {
            None => true,
            Some(parent) => parent.is_root(),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
        }
        match self.step {
            Step::None => Ok(()),
            Step::Field(name) if self.is_start() => out.write_str(name),
            Step::Field(name) => write!(out, ".{name}"),
            Step::Index(index) => write!(out, "[{index}]"),
            Step::Key(key) => write!(out, "[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_kubernetes_writes_fields() {
        let spec = Path::ROOT.field("spec");
        let list = spec.field("list");
        let first = list.index(0);
        let labels = first.field("labels");
        assert_eq!(labels.key("a/b").to_string(), "spec.list[0].labels[a/b]");
        assert_eq!(Path::ROOT.or_nil(), "<nil>");
        assert_eq!(
            Path::starting("spec.validation").field("type").to_string(),
            "spec.validation.type"
        );
    }
}
