//! Velero's verbs and flags that this version does not have: refused with exit code 2 and said so, never ignored.
//!
//! clap refuses what it does not know; this file looks at what was refused and tells "Velero has it, this version
//! does not yet" from "nobody has it".

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::velero_commands::{ALIASES, COMMANDS, GLOBAL_FLAGS};

/// What to say when Velero knows what clap has just refused; `None` when clap's own words are right.
pub fn explain(args: &[String], error: &clap::Error) -> Option<String> {
    let path = command_path(args);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let known = COMMANDS.iter().any(|(command, _)| *command == path);
            (known && !path.is_empty())
                .then(|| format!("velero {path}: this version does not have this command yet"))
        }
        ErrorKind::UnknownArgument => {
            let Some(ContextValue::String(refused)) = error.get(ContextKind::InvalidArg) else {
                return None;
            };
            let flag = refused.split(['=', ' ']).next().unwrap_or(refused);
            let of_command = COMMANDS
                .iter()
                .find(|(command, _)| *command == path)
                .map(|(_, flags)| *flags);
            let known = of_command
                .into_iter()
                .chain([GLOBAL_FLAGS])
                .any(|flags| flags.split(' ').any(|known| known == flag));
            known.then(|| format!("velero {path}: this version does not have the flag {flag} yet"))
        }
        _ => None,
    }
}

/// The words of the command line that name a command of Velero, plurals made singular where only that is listed.
fn command_path(args: &[String]) -> String {
    let mut path = String::new();
    let mut args = args.iter().skip(1);
    while let Some(arg) = args.next() {
        if arg.starts_with('-') {
            if matches!(
                arg.as_str(),
                "-n" | "--namespace" | "--kubeconfig" | "--kubecontext"
            ) {
                args.next();
            }
            continue;
        }
        let extended = |word: &str| {
            if path.is_empty() {
                word.to_owned()
            } else {
                format!("{path} {word}")
            }
        };
        let spellings = std::iter::once(arg.as_str()).chain(other_spellings(arg));
        match spellings
            .map(extended)
            .find(|candidate| COMMANDS.iter().any(|(command, _)| command == candidate))
        {
            Some(longer) => path = longer,
            None => break,
        }
    }
    path
}

fn other_spellings(word: &str) -> impl Iterator<Item = &str> {
    ALIASES.iter().filter_map(move |(one, many)| {
        if word == *one {
            Some(*many)
        } else if word == *many {
            Some(*one)
        } else {
            None
        }
    })
}
