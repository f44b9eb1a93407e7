//! CRI's image service.

use std::collections::HashMap;
use std::pin::Pin;

use base64::Engine;
use futures::{Stream, StreamExt, stream};
use keelson_proto::cri;
use keelson_proto::cri::image_service_server::ImageService;
use tonic::{Request, Response, Status};

use super::embedded::EmbeddedRuntime;
use super::error::RuntimeError;
use super::{model, stats};
use crate::image::pull::{self, RegistryAuth};
use crate::image::{ImageRecord, digest};

type Answer<T> = Result<Response<T>, Status>;

fn describe(record: &ImageRecord) -> cri::Image {
    let user = record.run.user.clone().unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default();
    let uid: Option<i64> = if user.is_empty() { Some(0) } else { user.parse().ok() };
    cri::Image {
        id: record.id.clone(),
        repo_tags: record.tags.iter().cloned().collect(),
        repo_digests: record.digests.iter().cloned().collect(),
        size: record.size_bytes,
        uid: uid.map(|value| cri::Int64Value { value }),
        username: if uid.is_none() { user.to_owned() } else { String::new() },
        spec: Some(cri::ImageSpec { image: record.id.clone(), ..cri::ImageSpec::default() }),
        pinned: false,
    }
}

/// The credentials, from whichever field has them.
fn credentials(auth: Option<cri::AuthConfig>) -> Result<RegistryAuth, RuntimeError> {
    let Some(auth) = auth else { return Ok(RegistryAuth::Anonymous) };
    if !auth.registry_token.is_empty() {
        return Ok(RegistryAuth::Bearer(auth.registry_token));
    }
    if !auth.username.is_empty() {
        return Ok(RegistryAuth::Basic(auth.username, auth.password));
    }
    if !auth.auth.is_empty() {
        let malformed = || RuntimeError::Invalid("malformed registry credentials".to_owned());
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(auth.auth.trim())
            .map_err(|_| malformed())?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let (user, password) = text.split_once(':').ok_or_else(malformed)?;
        let password = password.trim_end_matches('\0');
        return Ok(RegistryAuth::Basic(user.to_owned(), password.to_owned()));
    }
    Ok(RegistryAuth::Anonymous)
}

impl EmbeddedRuntime {
    fn image_list(&self, filter: Option<cri::ImageFilter>) -> Vec<cri::Image> {
        let wanted = filter.and_then(|filter| filter.image).map(|image| image.image);
        match wanted.filter(|name| !name.is_empty()) {
            Some(name) => self.inner.images.find(&name).iter().map(describe).collect(),
            None => self.inner.images.list().iter().map(describe).collect(),
        }
    }
}

#[tonic::async_trait]
impl ImageService for EmbeddedRuntime {
    type StreamImagesStream =
        Pin<Box<dyn Stream<Item = Result<cri::StreamImagesResponse, Status>> + Send>>;

    async fn list_images(
        &self,
        request: Request<cri::ListImagesRequest>,
    ) -> Answer<cri::ListImagesResponse> {
        let images = self.image_list(request.into_inner().filter);
        Ok(Response::new(cri::ListImagesResponse { images }))
    }

    async fn stream_images(
        &self,
        request: Request<cri::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        let images = self.image_list(request.into_inner().filter);
        let message = Ok(cri::StreamImagesResponse { images });
        Ok(Response::new(stream::iter([message]).boxed()))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Answer<cri::ImageStatusResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        let is_id = digest::hex_part(&name).is_some();
        if !is_id {
            // A name that is none is an error here, as the caller must tell its user.
            crate::image::reference::parse(&name)
                .map_err(|error| RuntimeError::Image(error.into()))?;
        }
        let image = self.inner.images.find(&name).as_ref().map(describe);
        Ok(Response::new(cri::ImageStatusResponse { image, info: HashMap::new() }))
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Answer<cri::PullImageResponse> {
        let request = request.into_inner();
        let name = request.image.unwrap_or_default().image;
        let auth = credentials(request.auth)?;
        let inner = &self.inner;
        let record = pull::pull(&inner.images, &inner.config.registries, &name, &auth)
            .await
            .map_err(RuntimeError::from)?;
        Ok(Response::new(cri::PullImageResponse { image_ref: record.id }))
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Answer<cri::RemoveImageResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        let inner = self.inner.clone();
        super::client::blocking(move || {
            Ok::<_, RuntimeError>(inner.images.remove(&name, &inner.images_in_use())?)
        })
        .await?;
        Ok(Response::new(cri::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Answer<cri::ImageFsInfoResponse> {
        let inner = self.inner.clone();
        let usage = super::client::blocking(move || {
            let usage = |folder: std::path::PathBuf| {
                let (bytes, inodes) = stats::disk_usage(&folder);
                cri::FilesystemUsage {
                    timestamp: model::now(),
                    fs_id: Some(cri::FilesystemIdentifier {
                        mountpoint: folder.display().to_string(),
                    }),
                    used_bytes: Some(cri::UInt64Value { value: bytes }),
                    inodes_used: Some(cri::UInt64Value { value: inodes }),
                }
            };
            Ok::<_, RuntimeError>(usage(inner.layout.images()))
        })
        .await?;
        Ok(Response::new(cri::ImageFsInfoResponse {
            image_filesystems: vec![usage],
            container_filesystems: Vec::new(),
        }))
    }
}
