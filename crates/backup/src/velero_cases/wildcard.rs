use caravel_cases::{each, same, texts};

use super::{fails, wants};
use crate::filter::wildcard;

#[test]
fn patterns_are_expanded_where_velero_expands_them() {
    each("pkg_util_wildcard/TestShouldExpandWildcards.json", |case| {
        let ours = wildcard::should_expand(&case.texts("includes"), &case.texts("excludes"));
        same(&ours, &wants(case, "expected"))
    });
}

#[test]
fn patterns_match_the_names_that_they_match_in_velero() {
    each("pkg_util_wildcard/TestExpandWildcards.json", |case| {
        let existing = case.texts("activeNamespaces");
        let included = wildcard::expand(&case.texts("includes"), &existing);
        let excluded = wildcard::expand(&case.texts("excludes"), &existing);
        let both = included.and_then(|included| Ok((included, excluded?)));
        fails(wants(case, "expectError"), &both)?;
        let Ok((included, excluded)) = both else {
            return Ok(());
        };
        same(
            &included,
            &texts(case.want("expectedIncludes")).into_iter().collect(),
        )?;
        same(
            &excluded,
            &texts(case.want("expectedExcludes")).into_iter().collect(),
        )
    });
    each("pkg_util_wildcard/TestExpandWildcardsPrivate.json", |case| {
        let ours = wildcard::expand(&case.texts("patterns"), &case.texts("activeNamespaces"));
        fails(wants(case, "expectError"), &ours)?;
        let Ok(ours) = ours else { return Ok(()) };
        same(&ours, &texts(case.want("expected")).into_iter().collect())
    });
}

#[test]
fn bad_patterns_are_refused_in_veleros_words() {
    each("pkg_util_wildcard/TestValidateBracePatterns.json", |case| {
        let ours = wildcard::brackets(case.input("pattern").as_str().unwrap());
        fails(wants(case, "expectError"), &ours)?;
        let said = ours.err().map(|error| error.to_string()).unwrap_or_default();
        let wanted = case.want("errorMsg").as_str().unwrap();
        if said.contains(wanted) {
            Ok(())
        } else {
            Err(format!("{said:?} does not say {wanted:?}"))
        }
    });
    each("pkg_util_wildcard/TestExpandWildcardsEdgeCases.json", |case| {
        if case.input("pattern").is_null() {
            let ours = wildcard::expand(&case.texts("patterns"), &case.texts("namespaces"));
            return fails(false, &ours);
        }
        let ours = wildcard::validate(case.input("pattern").as_str().unwrap());
        fails(wants(case, "shouldError"), &ours)
    });
}
