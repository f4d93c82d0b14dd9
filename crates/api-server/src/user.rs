//! Who asks: `k8s.io/apiserver` v0.34, `pkg/authentication/user`.

/// A caller, as authentication found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    /// Member of `system:masters`: may do everything, whatever RBAC says.
    pub fn administrator() -> Self {
        Self {
            name: "kubernetes-admin".to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        }
    }

    /// A part of the cluster itself, as in `system:sandbox`: may do everything, as an administrator may.
    pub fn component(name: &str) -> Self {
        Self {
            name: format!("system:{name}"),
            ..Self::administrator()
        }
    }

    /// A ServiceAccount, with the groups Kubernetes gives it.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
        }
    }

    /// Nobody said who.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
        }
    }
}
