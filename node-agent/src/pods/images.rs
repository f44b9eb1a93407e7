//! Gets the image of a container by its pull policy, with the events and words of the kubelet.
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};
use keelson_proto::cri;
use tokio_util::sync::CancellationToken;

use super::back_off::go_duration;
use super::lookup::namespace_of;
use super::plan::Waiting;
use super::security::ImageUser;
use crate::agent::{Context, EventType, ObjectKey, ObjectKind, ObjectState, reason_of};

/// An image that is on this machine.
#[derive(Clone, Debug)]
pub(crate) struct ReadyImage {
    pub(crate) id: String,
    pub(crate) user: ImageUser,
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFailure {
    pub(crate) waiting: Waiting,
    /// Whether a back-off of pulls follows, and shows as `ImagePullBackOff`.
    pub(crate) pull_failed: bool,
}

fn failure(reason: &'static str, message: String) -> ImageFailure {
    ImageFailure { waiting: Waiting { reason, message }, pull_failed: false }
}

/// Makes sure that the image is here. Ends early when the pod does.
pub(crate) async fn ensure_image(
    cx: &Context,
    pod: &Pod,
    container: &Container,
    sandbox: &cri::PodSandboxConfig,
    cancel: &CancellationToken,
) -> Result<ReadyImage, ImageFailure> {
    let wanted = container.image.clone().unwrap_or_default();
    let event = |kind, reason, message: String| {
        cx.recorder.container(pod, &container.name, kind, reason, message);
    };
    let Some(image) = with_default_tag(&wanted) else {
        let message = format!(
            "Failed to apply default image tag \"{wanted}\": couldn't parse image name \"{wanted}\": invalid reference format"
        );
        event(EventType::Warning, "InspectFailed", message.clone());
        return Err(failure("InvalidImageName", message));
    };
    let policy = container.image_pull_policy.as_deref().unwrap_or(default_policy(&wanted));
    let present = match status(cx, &image).await {
        Ok(present) => present,
        Err(why) => {
            let message = format!("Failed to inspect image \"{wanted}\": {why}");
            event(EventType::Warning, "InspectFailed", message.clone());
            return Err(failure("ImageInspectError", message));
        }
    };
    match (policy, present) {
        ("IfNotPresent" | "Never", Some(ready)) => {
            let words = "already present on machine and can be accessed by the pod";
            event(EventType::Normal, "Pulled", format!("Container image \"{wanted}\" {words}"));
            return Ok(ready);
        }
        ("Never", None) => {
            let message =
                format!("Container image \"{wanted}\" is not present with pull policy of Never");
            event(EventType::Warning, "ErrImageNeverPull", message.clone());
            return Err(failure("ErrImageNeverPull", message));
        }
        _ => {}
    }
    event(EventType::Normal, "Pulling", format!("Pulling image \"{wanted}\""));
    let start = Instant::now();
    let pulled = tokio::select! {
        pulled = pull(cx, pod, &image, sandbox) => pulled,
        () = cancel.cancelled() => Err("context canceled".to_owned()),
    };
    let outcome = match pulled {
        Ok(pulling) => match status(cx, &image).await {
            Ok(Some(ready)) => Ok((ready, pulling)),
            Ok(None) => Err(format!("image \"{image}\" is not there after the pull")),
            Err(why) => Err(why),
        },
        Err(why) => Err(why),
    };
    match outcome {
        Ok((ready, pulling)) => {
            let (pulling, waiting) = (whole_millis(pulling), whole_millis(start.elapsed()));
            let size = size(cx, &image).await;
            event(
                EventType::Normal,
                "Pulled",
                format!(
                    "Successfully pulled image \"{wanted}\" in {pulling} ({waiting} including waiting). Image size: {size} bytes."
                ),
            );
            Ok(ready)
        }
        Err(why) => {
            let message = format!("Failed to pull image \"{wanted}\": {why}");
            event(EventType::Warning, "Failed", message);
            Err(ImageFailure {
                waiting: Waiting { reason: "ErrImagePull", message: why },
                pull_failed: true,
            })
        }
    }
}

fn whole_millis(duration: Duration) -> String {
    go_duration(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}

async fn status(cx: &Context, image: &str) -> Result<Option<ReadyImage>, String> {
    let found = inspect(cx, image).await?;
    Ok(found.map(|image| ReadyImage {
        user: ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username },
        id: image.id,
    }))
}

async fn inspect(cx: &Context, image: &str) -> Result<Option<cri::Image>, String> {
    let request = cri::ImageStatusRequest {
        image: Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() }),
        verbose: false,
    };
    match cx.cri.images.clone().image_status(request).await {
        Ok(answer) => Ok(answer.into_inner().image),
        Err(status) => Err(reason_of(&status)),
    }
}

async fn size(cx: &Context, image: &str) -> u64 {
    inspect(cx, image).await.ok().flatten().map(|image| image.size).unwrap_or_default()
}

async fn pull(
    cx: &Context,
    pod: &Pod,
    image: &str,
    sandbox: &cri::PodSandboxConfig,
) -> Result<Duration, String> {
    // The semaphore is never closed.
    let _turn = cx.pulls.acquire().await.map_err(|error| error.to_string())?;
    let start = Instant::now();
    let request = cri::PullImageRequest {
        image: Some(cri::ImageSpec {
            image: image.to_owned(),
            user_specified_image: image.to_owned(),
            ..Default::default()
        }),
        auth: credentials(cx, pod, image).await,
        sandbox_config: Some(sandbox.clone()),
    };
    match cx.cri.images.clone().pull_image(request).await {
        Ok(_) => Ok(start.elapsed()),
        Err(status) => Err(reason_of(&status)),
    }
}

/// The first of the pod's pull secrets that knows the image's registry.
async fn credentials(cx: &Context, pod: &Pod, image: &str) -> Option<cri::AuthConfig> {
    let secrets = pod.spec.as_ref().and_then(|s| s.image_pull_secrets.as_ref())?;
    for secret in secrets {
        let key = ObjectKey {
            kind: ObjectKind::Secret,
            namespace: namespace_of(pod).to_owned(),
            name: secret.name.clone(),
        };
        let ObjectState::Found(contents) = cx.objects.get(&key).await else { continue };
        let Some(json) = contents.data.get(".dockerconfigjson") else { continue };
        let Ok(config) = serde_json::from_slice::<serde_json::Value>(json) else { continue };
        let auths = config.get("auths").and_then(|a| a.as_object());
        for (registry, auth) in auths.into_iter().flatten() {
            let host = registry.trim_start_matches("https://").trim_start_matches("http://");
            let host = host.trim_end_matches('/');
            if image.starts_with(host) {
                let text = |name: &str| {
                    auth.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned()
                };
                return Some(cri::AuthConfig {
                    username: text("username"),
                    password: text("password"),
                    auth: text("auth"),
                    ..Default::default()
                });
            }
        }
    }
    None
}

fn default_policy(image: &str) -> &'static str {
    match with_default_tag(image) {
        Some(tagged) if tagged.ends_with(":latest") => "Always",
        _ => "IfNotPresent",
    }
}

/// The reference with `:latest` when it has neither tag nor digest; none when it is no reference.
fn with_default_tag(image: &str) -> Option<String> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let after_slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[after_slash..].find(':') {
        Some(at) => (&rest[..after_slash + at], Some(&rest[after_slash + at + 1..])),
        None => (rest, None),
    };
    let mut parts = name.split('/');
    let first = parts.next()?;
    let is_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let host_valid = first.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c));
    let path_valid = |part: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        part.chars().all(allowed) && edge(part.chars().next()) && edge(part.chars().last())
    };
    let name_valid = if is_host { host_valid } else { path_valid(first) } && parts.all(path_valid);
    let tag_valid = tag.is_none_or(|tag| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !tag.is_empty() && tag.len() <= 128 && tag.chars().all(allowed)
    });
    let digest_valid = digest.is_none_or(|digest| {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
        })
    });
    if !(name_valid && tag_valid && digest_valid) {
        return None;
    }
    Some(if tag.is_none() && digest.is_none() {
        format!("{image}:latest")
    } else {
        image.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked_and_completed() {
        let check = |image: &str, expected: Option<&str>| {
            assert_eq!(with_default_tag(image).as_deref(), expected, "{image}");
        };
        check("nginx", Some("nginx:latest"));
        check("nginx:1.27", Some("nginx:1.27"));
        check("localhost:5000/a/b", Some("localhost:5000/a/b:latest"));
        check("127.0.0.1:5000/a:v1", Some("127.0.0.1:5000/a:v1"));
        let digest = format!("a@sha256:{}", "0".repeat(64));
        check(&digest, Some(&digest));
        check("Nginx", None);
        check("a b", None);
        check("a:", None);
        check("", None);
        check("a//b", None);
    }

    #[test]
    fn latest_is_pulled_each_time() {
        assert_eq!(default_policy("nginx"), "Always");
        assert_eq!(default_policy("nginx:1"), "IfNotPresent");
    }
}
