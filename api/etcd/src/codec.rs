//! Protobuf messages on their way in and out, counted.

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::ProstCodec;

use bytes::{Buf as _, BufMut as _};

use crate::face::EtcdFace;
use crate::metrics::Method;

/// The codec of one call: it answers with `R` to `Q`.
pub(crate) struct Counted<Q, R> {
    inner: ProstCodec<R, Q>,
    face: EtcdFace,
    method: Method,
}

impl<Q, R> Counted<Q, R>
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
{
    pub(crate) fn new(face: EtcdFace, method: Method) -> Self {
        Self { inner: ProstCodec::default(), face, method }
    }
}

/// Counts what passes one of the two.
pub(crate) struct Counting<T> {
    inner: T,
    face: EtcdFace,
    method: Method,
}

impl<Q, R> Codec for Counted<Q, R>
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
{
    type Encode = R;
    type Decode = Q;
    type Encoder = Counting<<ProstCodec<R, Q> as Codec>::Encoder>;
    type Decoder = Counting<<ProstCodec<R, Q> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        Counting { inner: self.inner.encoder(), face: self.face.clone(), method: self.method }
    }

    fn decoder(&mut self) -> Self::Decoder {
        Counting { inner: self.inner.decoder(), face: self.face.clone(), method: self.method }
    }
}

impl<T: Encoder<Error = Status>> Encoder for Counting<T> {
    type Item = T::Item;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let room = to.remaining_mut();
        self.inner.encode(item, to)?;
        self.face.metrics().sent(self.method, room - to.remaining_mut());
        Ok(())
    }

    fn buffer_settings(&self) -> tonic::codec::BufferSettings {
        self.inner.buffer_settings()
    }
}

impl<T: Decoder<Error = Status>> Decoder for Counting<T> {
    type Item = T::Item;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        self.face.metrics().received(self.method, from.remaining());
        self.inner.decode(from)
    }

    fn buffer_settings(&self) -> tonic::codec::BufferSettings {
        self.inner.buffer_settings()
    }
}
