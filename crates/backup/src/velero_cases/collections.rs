use std::collections::BTreeSet;

use caravel_api::v1::{Backup, BackupSpec};
use caravel_cases::{Case, each, same, texts};
use serde_json::Value;

use super::{discovered, fails, wants, yaml_names};
use crate::filter::{self, Lists, NamespaceFilter, ResourceFilter};

fn existing(case: &Case) -> BTreeSet<String> {
    case.texts("activeNamespaces").into_iter().collect()
}

fn namespaces(case: &Case) -> Result<NamespaceFilter, filter::wildcard::PatternError> {
    let included = case.texts("includes");
    NamespaceFilter::new(&included, &case.texts("excludes"), &existing(case)).map(|(filter, _)| filter)
}

fn scoped(case: &Case) -> BackupSpec {
    BackupSpec {
        included_namespace_scoped_resources: case.texts("namespaceScopedIncludes"),
        excluded_namespace_scoped_resources: case.texts("namespaceScopedExcludes"),
        included_cluster_scoped_resources: case.texts("clusterScopedIncludes"),
        excluded_cluster_scoped_resources: case.texts("clusterScopedExcludes"),
        ..BackupSpec::default()
    }
}

fn resource_filter(case: &Case, spec: &BackupSpec) -> ResourceFilter {
    let (all, _) = NamespaceFilter::new(&case.texts("nsIncludes"), &[], &BTreeSet::new()).unwrap();
    let resources = discovered(case.input("apiResources"));
    ResourceFilter::new(spec, &all, |word| resources.scope_of(word))
}

/// A resource that discovery does not know is never collected: there is nothing that could be listed.
fn collects(case: &Case, filter: &ResourceFilter) -> bool {
    let resources = discovered(case.input("apiResources"));
    let item = case.input("item").as_str().unwrap();
    resources
        .scope_of(item)
        .is_some_and(|(name, namespaced)| filter.collects(&name, namespaced))
}

#[test]
fn lists_with_patterns_include_what_they_include_in_velero() {
    each("pkg_util_collections/TestShouldInclude.json", |case| {
        let lists = Lists::new(&case.texts("includes"), &case.texts("excludes"));
        same(
            &lists.includes(case.input("item").as_str().unwrap()),
            &wants(case, "want"),
        )
    });
    each("pkg_util_collections/TestIncludeExcludeString.json", |case| {
        let lists = Lists::new(&case.texts("includes"), &case.texts("excludes"));
        let (included, excluded) = lists.describe();
        same(&Value::from(included), case.want("wantIncludes"))?;
        same(&Value::from(excluded), case.want("wantExcludes"))
    });
}

#[test]
fn scoped_filters_collect_what_they_collect_in_velero() {
    for file in [
        "pkg_util_collections/TestClusterScopedShouldInclude.json",
        "pkg_util_collections/TestNamespaceScopedShouldInclude.json",
    ] {
        each(file, |case| {
            let filter = resource_filter(case, &scoped(case));
            same(&collects(case, &filter), &wants(case, "want"))
        });
    }
    each(
        "pkg_util_collections/TestGetScopedResourceIncludesExcludes.json",
        |case| {
            let filter = resource_filter(case, &scoped(case));
            let fields = [
                "NamespaceScopedIncludes",
                "NamespaceScopedExcludes",
                "ClusterScopedIncludes",
                "ClusterScopedExcludes",
            ];
            for (field, ours) in fields.iter().zip(filter.scoped().unwrap()) {
                same(
                    &ours,
                    &texts(case.want(&format!("expected{field}")))
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>(),
                )?;
            }
            Ok(())
        },
    );
}

#[test]
fn what_follows_an_item_is_held_back_only_by_exclusions() {
    each("pkg_util_collections/TestShouldExcluded.json", |case| {
        let spec = match case.input("filterType").as_str().unwrap() {
            "global" => BackupSpec {
                included_resources: case.texts("clusterIncludes"),
                excluded_resources: case.texts("clusterExcludes"),
                include_cluster_resources: case.input("includeClusterResources").as_bool(),
                ..BackupSpec::default()
            },
            _ => BackupSpec {
                included_cluster_scoped_resources: case.texts("clusterIncludes"),
                excluded_cluster_scoped_resources: case.texts("clusterExcludes"),
                ..BackupSpec::default()
            },
        };
        let filter = resource_filter(case, &spec);
        let excluded = !filter.follows(case.input("resourceName").as_str().unwrap(), false);
        same(&excluded, &wants(case, "resourceIsExcluded"))
    });
}

/// What the Go closures of the cases ask; `true`: included.
const AFTER_POLICY: [&[(bool, &str, bool)]; 4] = [
    &[
        (false, "persistentvolumes", true),
        (false, "customresourcedefinitions", false),
        (true, "deployments.apps", true),
        (true, "configmaps", false),
    ],
    &[
        (false, "persistentvolumes", true),
        (false, "crds", false),
        (true, "deployments", true),
        (true, "configmaps", false),
        (true, "secrets", false),
    ],
    &[
        (false, "crds", true),
        (false, "persistentvolumes", false),
        (true, "pods", true),
        (true, "configmaps", false),
        (true, "secrets", false),
    ],
    &[(true, "configmaps", true), (true, "secrets", true)],
];

#[test]
fn the_lists_of_a_policy_give_way_to_those_of_the_backup() {
    each(
        "pkg_util_collections/TestScopeIncludesExcludes_CombineWithPolicy.json",
        |case| {
            let mut filter = resource_filter(case, &scoped(case));
            if !case.input("policy").is_null() {
                let policy = serde_json::from_value(yaml_names(case.input("policy"))).unwrap();
                filter.combine(&policy, |_| None);
            }
            for (namespaced, resource, wanted) in AFTER_POLICY[case.index()] {
                let resource = if case.index() == 0 {
                    resource.trim_end_matches(".apps")
                } else {
                    resource
                };
                same(&filter.scoped_includes(resource, *namespaced), wanted)
                    .map_err(|why| format!("{resource}: {why}"))?;
            }
            Ok(())
        },
    );
}

#[test]
fn namespaces_are_resolved_as_velero_resolves_them() {
    each("pkg_util_collections/TestExpandIncludesExcludes.json", |case| {
        let filter = namespaces(case);
        fails(wants(case, "expectError"), &filter)?;
        let Ok(filter) = filter else { return Ok(()) };
        let (expanded, included, excluded) = filter.expansion();
        let sorted = |field: &str| texts(case.want(field)).into_iter().collect::<BTreeSet<_>>();
        same(&expanded, &wants(case, "expectedWildcardExpanded"))?;
        same(
            &included,
            &sorted("expectedIncludes").iter().map(String::as_str).collect(),
        )?;
        same(
            &excluded,
            &sorted("expectedExcludes").iter().map(String::as_str).collect(),
        )
    });
    each("pkg_util_collections/TestResolveNamespaceList.json", |case| {
        let resolved = namespaces(case).unwrap().resolved();
        let wanted: BTreeSet<String> = texts(case.want("expectedNamespaces")).into_iter().collect();
        same(&resolved, &wanted.into_iter().collect())
    });
    each(
        "pkg_util_collections/TestResolveNamespaceListError.json",
        |case| fails(true, &namespaces(case)),
    );
    each(
        "pkg_util_collections/TestNamespaceIncludesExcludesShouldIncludeAfterWildcardExpansion.json",
        |case| {
            let ours = namespaces(case)
                .unwrap()
                .includes(case.input("testNamespace").as_str().unwrap());
            same(&ours, &wants(case, "expectedResult"))
        },
    );
}

#[test]
fn lists_are_refused_where_velero_refuses_them() {
    let wanted = |field: &Value| -> Vec<String> {
        let errors = field.as_array().into_iter().flatten();
        errors
            .map(|error| error["$error"].as_str().unwrap().to_owned())
            .collect()
    };
    each("pkg_util_collections/TestValidateIncludesExcludes.json", |case| {
        let ours = filter::list_errors(&case.texts("includes"), &case.texts("excludes"));
        same(&ours, &wanted(case.want("want")))
    });
    each(
        "pkg_util_collections/TestValidateScopedIncludesExcludes.json",
        |case| {
            let ours = filter::scoped_errors(&case.texts("includes"), &case.texts("excludes"));
            same(&ours, &wanted(case.want("wantErr")))
        },
    );
    each(
        "pkg_util_collections/TestValidateNamespaceIncludesExcludes.json",
        |case| {
            let ours = filter::namespace_errors(&case.texts("includes"), &case.texts("excludes"));
            same(&!ours.is_empty(), &wants(case, "wantErr"))
        },
    );
}

#[test]
fn old_filters_are_told_from_new_ones() {
    each("pkg_util_collections/TestUseOldResourceFilters.json", |case| {
        let backup: Backup = serde_json::from_value(case.input("backup").clone()).unwrap();
        same(
            &filter::uses_old_filters(&backup.spec),
            &wants(case, "useOldResourceFilters"),
        )
    });
}
