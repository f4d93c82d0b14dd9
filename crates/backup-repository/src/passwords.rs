//! The passwords that the Secret holds: one, and a second one while the password is being changed.
//!
//! During a change some repositories open with the first one and some with the next one, and a crash may come at any
//! moment: whoever opens a repository tries both, and both stay recorded until every repository has been reopened with the
//! next one (decisions.md section 1; [`crate::rekey()`]).

use secrecy::SecretString;

use crate::naming::{NEXT_PASSWORD_KEY, PASSWORD_KEY, password};

/// What a repository may open with. Never prints a password.
#[derive(Clone, Debug)]
pub struct Passwords {
    current: SecretString,
    next: Option<SecretString>,
}

impl Passwords {
    /// As the Secret, or a mounted folder, has them: `value` gives what is held under a key. None without a current one.
    /// A next one that is empty or no text counts as none.
    pub fn recorded<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Self> {
        let held = |key: &str| value(key).and_then(password);
        Some(Self {
            current: held(PASSWORD_KEY)?,
            next: held(NEXT_PASSWORD_KEY),
        })
    }

    /// While it is changed from one to another.
    pub fn changing(current: SecretString, next: Option<SecretString>) -> Self {
        Self { current, next }
    }

    /// That of repositories which the change, if one goes on, has not come to.
    pub fn current(&self) -> &SecretString {
        &self.current
    }

    /// The one that all of them will have.
    pub fn next(&self) -> Option<&SecretString> {
        self.next.as_ref()
    }

    /// What a new repository is made with: the change, if one goes on, need not come to it.
    pub fn newest(&self) -> &SecretString {
        self.next.as_ref().unwrap_or(&self.current)
    }
}

impl From<&SecretString> for Passwords {
    fn from(password: &SecretString) -> Self {
        Self::changing(password.clone(), None)
    }
}

impl From<&Passwords> for Passwords {
    fn from(passwords: &Passwords) -> Self {
        passwords.clone()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn recorded(held: &[(&str, &'static [u8])]) -> Option<Passwords> {
        let value = |key: &str| {
            held.iter()
                .find(|(held, _)| *held == key)
                .map(|(_, value)| *value)
        };
        Passwords::recorded(value)
    }

    #[test]
    fn the_next_password_counts_only_beside_a_current_one_and_only_if_it_is_one() {
        let both = recorded(&[(PASSWORD_KEY, &b" old\n"[..]), (NEXT_PASSWORD_KEY, &b"new\n"[..])]).unwrap();
        assert_eq!(both.current().expose_secret(), "old");
        assert_eq!(both.newest().expose_secret(), "new");
        for nothing in [&b""[..], b" \n", b"\xff"] {
            let one = recorded(&[(PASSWORD_KEY, &b"old"[..]), (NEXT_PASSWORD_KEY, nothing)]).unwrap();
            assert!(one.next().is_none());
            assert_eq!(one.newest().expose_secret(), "old");
        }
        assert!(recorded(&[(NEXT_PASSWORD_KEY, &b"new"[..])]).is_none());
        assert!(!format!("{both:?}").contains("old"), "guarantee 8");
    }
}
