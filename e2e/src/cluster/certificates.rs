//! One authority and the certificates that it signs, made once per cluster.
//!
//! Keys are P-256 (`rcgen` makes them without another tool). In client certificates the common name is the user and the
//! organisation the group, as Kubernetes reads them.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::layout::Layout;
use super::network;

/// The node's name.
pub const NODE: &str = "caravel";

/// A user that talks to the API server: name of its files, user, group.
pub const USERS: &[(&str, &str, Option<&str>)] = &[
    ("admin", "admin", Some("system:masters")),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("kubelet", "system:node:caravel", Some("system:nodes")),
    ("proxy", "system:kube-proxy", None),
];

/// Makes everything in `pki/`, unless it is there.
pub fn ensure(layout: &Layout) -> Result<()> {
    if layout.path("pki/complete").exists() {
        return Ok(());
    }
    let authority_key = KeyPair::generate().context("cannot make a key")?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name = name("caravel-e2e-ca", None);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let certificate = authority
        .self_signed(&authority_key)
        .context("cannot sign the authority")?;
    layout.write("pki/ca.crt", certificate.pem())?;
    let issuer = Issuer::new(authority, authority_key);

    let node = [IpAddr::from(network::ADDRESS), IpAddr::from([127, 0, 0, 1])];
    let api = [node[0], node[1], IpAddr::from(network::API_SERVICE)];
    let api_names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
        NODE,
    ];
    sign(
        layout,
        &issuer,
        "apiserver",
        name("kube-apiserver", None),
        &api,
        &api_names,
    )?;
    sign(
        layout,
        &issuer,
        "s3",
        name("versitygw", None),
        &node,
        &["localhost", NODE],
    )?;
    for (file, user, group) in USERS {
        let addresses: &[IpAddr] = if *file == "kubelet" { &node } else { &[] };
        sign(
            layout,
            &issuer,
            file,
            name(user, *group),
            addresses,
            &[*file, NODE],
        )?;
    }

    // Signs service account tokens.
    let accounts = KeyPair::generate().context("cannot make a key")?;
    private(layout, "pki/sa.key", &accounts.serialize_pem())?;
    layout.write("pki/sa.pub", accounts.public_key_pem())?;

    // An authority of its own that nothing here was signed by: for the run with an unknown certificate.
    let stranger = KeyPair::generate().context("cannot make a key")?;
    let mut unknown = CertificateParams::default();
    unknown.distinguished_name = name("somebody-else", None);
    unknown.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    layout.write(
        "pki/other-ca.crt",
        unknown.self_signed(&stranger).context("cannot sign")?.pem(),
    )?;
    layout.write("pki/complete", "")?;
    Ok(())
}

fn sign(
    layout: &Layout,
    issuer: &Issuer<'_, KeyPair>,
    file: &str,
    subject: DistinguishedName,
    addresses: &[IpAddr],
    names: &[&str],
) -> Result<()> {
    let key = KeyPair::generate().context("cannot make a key")?;
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = subject;
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    leaf.subject_alt_names = addresses
        .iter()
        .map(|address| SanType::IpAddress(*address))
        .collect();
    for dns in names {
        leaf.subject_alt_names
            .push(SanType::DnsName((*dns).try_into().context("not a DNS name")?));
    }
    let certificate = leaf
        .signed_by(&key, issuer)
        .with_context(|| format!("cannot sign {file}"))?;
    layout.write(format!("pki/{file}.crt"), certificate.pem())?;
    private(layout, &format!("pki/{file}.key"), &key.serialize_pem())
}

fn name(common: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organisation) = organisation {
        name.push(DnType::OrganizationName, organisation);
    }
    name.push(DnType::CommonName, common);
    name
}

fn private(layout: &Layout, file: &str, pem: &str) -> Result<()> {
    let path = layout.write(file, pem)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", path.display()))
}

/// Writes a kubeconfig per user: `kubeconfig/<user>`.
pub fn ensure_kubeconfigs(layout: &Layout, ports: &network::Ports) -> Result<()> {
    for (user, _, _) in USERS {
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NODE, "cluster": {
                "server": format!("https://{}", ports.api_address()),
                "certificate-authority": layout.text("pki/ca.crt"),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate": layout.text(format!("pki/{user}.crt")),
                "client-key": layout.text(format!("pki/{user}.key")),
            }}],
            "contexts": [{"name": NODE, "context": {"cluster": NODE, "user": user}}],
            "current-context": NODE,
        });
        private(
            layout,
            &format!("kubeconfig/{user}"),
            &serde_json::to_string_pretty(&kubeconfig)?,
        )?;
    }
    Ok(())
}
