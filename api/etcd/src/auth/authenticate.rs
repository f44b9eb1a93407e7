//! Authenticate: a token for a password.

use keelson_proto::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use keelson_storage::auth::AuthError;
use keelson_storage::command::{ApplyError, Authenticate, Op, Reply};
use rand::Rng;

use super::password;
use super::token::Kind;
use crate::error::FaceError;
use crate::face::EtcdFace;

/// Users or roles may change while a password is checked; so often it is checked again.
const TRIES: usize = 8;
/// Letters of a simple token.
const PREFIX_LENGTH: usize = 16;

pub(crate) async fn authenticate(
    face: EtcdFace,
    request: AuthenticateRequest,
) -> Result<AuthenticateResponse, FaceError> {
    face.read_index().await?;
    let AuthenticateRequest { name, password } = request;
    for _ in 0..TRIES {
        let checked_at = check_password(&face, &name, &password).await?;
        let token = match &face.config().auth_token.kind {
            Kind::Jwt(jwt) => jwt.sign(&name, checked_at).ok_or(FaceError::VerifyOnly)?,
            Kind::Simple { .. } => match assign(&face, &name, checked_at).await {
                Err(FaceError::Apply(ApplyError::Auth(AuthError::OldRevision))) => continue,
                token => token?,
            },
        };
        return Ok(AuthenticateResponse { header: Some(face.header_now()), token });
    }
    Err(AuthError::OldRevision.into())
}

/// The auth revision at which the password was right.
async fn check_password(face: &EtcdFace, name: &str, password: &str) -> Result<u64, FaceError> {
    let auth = face.node().view().auth();
    if !auth.is_enabled() {
        return Err(AuthError::NotEnabled.into());
    }
    let user = auth.user(name).ok_or(AuthError::Failed)?;
    if user.options.as_ref().is_some_and(|options| options.no_password) {
        return Err(AuthError::NoPasswordUser.into());
    }
    match password::fits(password.to_owned(), user.password.clone()).await? {
        true => Ok(auth.revision()),
        false => Err(AuthError::Failed.into()),
    }
}

/// Has every member know a new token.
async fn assign(face: &EtcdFace, name: &str, auth_revision: u64) -> Result<String, FaceError> {
    let letters = rand::rng().sample_iter(LETTERS).take(PREFIX_LENGTH);
    let token_prefix = letters.map(char::from).collect();
    let request = Authenticate { name: name.to_owned(), token_prefix, auth_revision };
    match face.propose_as_nobody(Op::Authenticate(request)).await? {
        Reply::Token(token) => Ok(token),
        _ => Err(FaceError::Unexpected),
    }
}

const LETTERS: Letters = Letters;

#[derive(Clone, Copy)]
struct Letters;

impl rand::distr::Distribution<u8> for Letters {
    fn sample<R: Rng + ?Sized>(&self, random: &mut R) -> u8 {
        let letter = random.random_range(0..52u8);
        if letter < 26 { b'a' + letter } else { b'A' + letter - 26 }
    }
}
