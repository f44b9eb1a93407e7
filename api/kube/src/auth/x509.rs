//! Client certificates: the common name is the user, the organizations are the groups.

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::user::{AUTHENTICATED, UserInfo};

/// The user a verified certificate names; None without a common name.
pub(crate) fn user(certificate_der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    groups.push(AUTHENTICATED.to_owned());
    Some(UserInfo { name, groups, ..UserInfo::default() })
}
