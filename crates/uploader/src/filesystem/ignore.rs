//! Ignore rules in gitignore's syntax, as Kopia v0.22.3 reads them (`internal/wcmatch`, `fs/ignorefs`): a line of a
//! `.kopiaignore` file or of a policy. Paths begin with `/`, the snapshot's root; a rule of a file deeper down holds
//! below that folder only.
//!
//! A rule is matched by following all its possible positions at once, so no rule takes longer than its length times the
//! path's, whatever stars it has.

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    steps: Vec<Step>,
    /// Takes back what an earlier rule left out.
    pub negated: bool,
    only_directories: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// Exactly this character.
    One(char),
    /// Any but a slash.
    Any,
    /// Any number of any but a slash.
    Star,
    /// Any number of any.
    Stars,
    /// As if nothing were here, or as if the next two steps (`**` and `/`) were not.
    MaybeSkipTwo,
    /// One of these, or none of these.
    Class { ranges: Vec<ClassItem>, negated: bool },
}

#[derive(Clone, Debug)]
enum ClassItem {
    Range(char, char),
    Named(fn(char) -> bool),
}

impl Rule {
    /// The rules of a file's text: blank lines and comments are none.
    ///
    /// Errors: the line that is no rule, and why.
    pub fn of_lines(text: &str, folder: &str) -> Result<Vec<Self>, String> {
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
            .map(|line| Self::new(line, folder))
            .collect()
    }

    /// A rule that holds below `folder` (empty, or `/a/b`).
    ///
    /// Errors: why it is none.
    pub fn new(text: &str, folder: &str) -> Result<Self, String> {
        let escaped_end = text.chars().rev().nth(1) == Some('\\');
        let pattern = if escaped_end {
            text.trim_start()
        } else {
            text.trim()
        };
        let (negated, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let (only_directories, body) = match pattern.strip_suffix('/') {
            Some(body) => (true, body),
            None => (false, pattern),
        };
        let mut steps: Vec<Step> = folder.chars().map(Step::One).collect();
        if !pattern.starts_with('/') {
            if !folder.is_empty() {
                steps.push(Step::One('/'));
            }
            if !body.contains('/') && pattern != "**" && !pattern.is_empty() {
                // Anywhere below.
                steps.extend([Step::MaybeSkipTwo, Step::Stars, Step::One('/')]);
            } else if folder.is_empty() && pattern != "**" {
                steps.push(Step::One('/'));
            }
        }
        let chars: Vec<char> = body.chars().collect();
        Parser {
            chars: &chars,
            at: 0,
            steps: &mut steps,
        }
        .parse()
        .map_err(|why| format!("`{text}` {why}"))?;
        Ok(Self {
            steps,
            negated,
            only_directories,
        })
    }

    /// Whether an entry is left out, when the rules before this one say `ignored`.
    pub fn decide(&self, ignored: bool, path: &str, is_directory: bool) -> bool {
        if ignored != self.negated || (self.only_directories && !is_directory) {
            return ignored;
        }
        match self.matches(path) {
            true => !self.negated,
            false => ignored,
        }
    }

    fn matches(&self, path: &str) -> bool {
        let end = self.steps.len();
        let mut here = vec![false; end + 1];
        self.reach(&mut here, 0);
        for c in path.chars() {
            let mut next = vec![false; end + 1];
            for (at, step) in self.steps.iter().enumerate().filter(|(at, _)| here[*at]) {
                match step {
                    Step::Star if c != '/' => self.reach(&mut next, at),
                    Step::Stars => self.reach(&mut next, at),
                    step if step.takes(c) => self.reach(&mut next, at + 1),
                    _ => {}
                }
            }
            here = next;
        }
        here[end]
    }

    /// Marks a position, and those that can be reached from it without a character.
    fn reach(&self, marked: &mut [bool], at: usize) {
        if std::mem::replace(&mut marked[at], true) {
            return;
        }
        match self.steps.get(at) {
            Some(Step::Star | Step::Stars) => self.reach(marked, at + 1),
            Some(Step::MaybeSkipTwo) => {
                self.reach(marked, at + 1);
                self.reach(marked, at + 3);
            }
            _ => {}
        }
    }
}

impl Step {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::One(one) => c == *one,
            Self::Any => c != '/',
            Self::Class { ranges, negated } => ranges.iter().any(|item| item.holds(c)) != *negated,
            Self::Star | Self::Stars | Self::MaybeSkipTwo => false,
        }
    }
}

impl ClassItem {
    fn holds(&self, c: char) -> bool {
        match self {
            Self::Range(first, last) => (*first..=*last).contains(&c),
            Self::Named(holds) => holds(c),
        }
    }
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
    steps: &'a mut Vec<Step>,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += 1;
        c
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn escaped(&mut self) -> Result<char, &'static str> {
        self.next()
            .ok_or("ends with a lone backslash; write `\\\\` for a backslash")
    }

    fn parse(mut self) -> Result<(), &'static str> {
        while let Some(c) = self.next() {
            match c {
                '\\' => {
                    let c = self.escaped()?;
                    self.steps.push(Step::One(c));
                }
                '?' => self.steps.push(Step::Any),
                '*' => self.star(),
                '[' => self.class()?,
                c => self.steps.push(Step::One(c)),
            }
        }
        Ok(())
    }

    fn star(&mut self) {
        let before = self.at.checked_sub(2).map(|at| self.chars[at]);
        let mut double = false;
        while self.peek() == Some('*') {
            self.at += 1;
            double = true;
        }
        let whole_name = before == Some('/') && matches!(self.peek(), None | Some('/'));
        if !double || !(before.is_none() || whole_name) {
            return self.steps.push(Step::Star);
        }
        if self.peek() == Some('/') {
            self.steps.push(Step::MaybeSkipTwo);
        }
        self.steps.push(Step::Stars);
    }

    fn class(&mut self) -> Result<(), &'static str> {
        const UNFINISHED: &str = "has a `[` without its `]`";
        let negated = self.peek() == Some('!');
        self.at += usize::from(negated);
        let mut ranges = Vec::new();
        loop {
            let first = match self.next().ok_or(UNFINISHED)? {
                ']' => break,
                '[' if self.peek() == Some(':') => match self.named()? {
                    Some(item) => {
                        ranges.push(item);
                        continue;
                    }
                    None => '[',
                },
                '\\' => self.escaped()?,
                c => c,
            };
            let follows = self.chars.get(self.at + 1).copied();
            let last = if self.peek() == Some('-') && follows.is_some_and(|c| c != ']') {
                self.at += 1;
                match self.next().ok_or(UNFINISHED)? {
                    '\\' => self.escaped()?,
                    c => c,
                }
            } else {
                first
            };
            ranges.push(ClassItem::Range(first, last));
        }
        self.steps.push(Step::Class { ranges, negated });
        Ok(())
    }

    /// `[:name:]`; none when there is no such end.
    fn named(&mut self) -> Result<Option<ClassItem>, &'static str> {
        let rest = &self.chars[self.at + 1..];
        let Some(length) = rest.windows(2).position(|two| two == [':', ']']) else {
            return Ok(None);
        };
        let name: String = rest[..length].iter().collect();
        let holds: fn(char) -> bool = match name.to_lowercase().as_str() {
            "alnum" => char::is_alphanumeric,
            "alpha" => char::is_alphabetic,
            "ascii" => |c| c.is_ascii(),
            "blank" => |c| c == '\t' || (c.is_whitespace() && !c.is_control()),
            "cntrl" => char::is_control,
            "digit" => char::is_numeric,
            "graph" | "print" => |c| !c.is_control(),
            "lower" => char::is_lowercase,
            "punct" => |c| c.is_ascii_punctuation(),
            "space" => char::is_whitespace,
            "upper" => char::is_uppercase,
            "xdigit" => |c| c.is_ascii_hexdigit(),
            _ => return Err("names a class of characters that there is none of"),
        };
        self.at += 1 + length + 2;
        Ok(Some(ClassItem::Named(holds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, path: &str) -> bool {
        let (path, is_directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let rules = Rule::of_lines(rules, "").expect("rules");
        rules
            .iter()
            .fold(false, |so_far, rule| rule.decide(so_far, path, is_directory))
    }

    #[test]
    fn rules_mean_what_they_mean_to_git() {
        let cases = [
            ("*.log", "/a.log", true),
            ("*.log", "/deep/down/a.log", true),
            ("*.log", "/a.log.txt", false),
            ("/a.log", "/a.log", true),
            ("/a.log", "/deep/a.log", false),
            ("deep/a.log", "/deep/a.log", true),
            ("deep/a.log", "/x/deep/a.log", false),
            ("**/deep/a.log", "/x/deep/a.log", true),
            ("**/deep/a.log", "/deep/a.log", true),
            ("deep/**", "/deep/a/b", true),
            ("deep/**", "/deep", false),
            ("a/**/b", "/a/b", true),
            ("a/**/b", "/a/x/y/b", true),
            ("a/**/b", "/a/xb", false),
            ("a*/b", "/abc/b", true),
            ("a*/b", "/a/x/b", false),
            ("cache/", "/x/cache/", true),
            ("cache/", "/x/cache", false),
            ("?at", "/cat", true),
            ("?at", "/at", false),
            ("[a-c]x[!0-9]", "/bxz", true),
            ("[a-c]x[!0-9]", "/bx7", false),
            ("[[:digit:]_]", "/7", true),
            ("[[:digit:]_]", "/_", true),
            ("[[:digit:]_]", "/x", false),
            ("\\!important", "/!important", true),
            ("  spaced.txt  ", "/spaced.txt", true),
            ("# a comment\n\n*.tmp", "/a.tmp", true),
            ("*.log\n!keep.log", "/x/keep.log", false),
            ("*.log\n!keep.log\nkeep.*", "/keep.log", true),
            ("!keep.log\n*.log", "/keep.log", true),
            ("a**b", "/axxb", true),
        ];
        for (rules, path, expected) in cases {
            assert_eq!(ignored(rules, path), expected, "{rules:?} on {path:?}");
        }
    }

    #[test]
    fn a_rule_of_a_folder_holds_below_it() {
        for (rule, path, expected) in [
            ("*.log", "/sub/a.log", true),
            ("*.log", "/sub/x/a.log", true),
            ("*.log", "/a.log", false),
            ("/a.log", "/sub/a.log", true),
            ("/a.log", "/sub/x/a.log", false),
            ("x/a.log", "/sub/x/a.log", true),
            ("**", "/sub/any/thing", true),
            ("**", "/other", false),
        ] {
            let rule = Rule::new(rule, "/sub").expect("a rule");
            assert_eq!(rule.decide(false, path, false), expected, "{rule:?} on {path:?}");
        }
    }

    #[test]
    fn what_is_no_rule_is_said() {
        for text in ["[abc", "abc\\", "[[:nothing:]]"] {
            let error = Rule::new(text, "").expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_rule_of_many_stars_is_not_slow() {
        let rule = Rule::new(&"*a".repeat(60), "").expect("a rule");
        assert!(!rule.matches(&format!("/{}b", "a".repeat(4000))));
    }
}
