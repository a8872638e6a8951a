//! A connection on which every request names the cluster that it is meant for, so that a portal or node of another refuses it.
//! To a portal it may be of a session.

use portal::meant::CLUSTER_HEADER;
use portal::session::KeptSession;
use portal::transport::session_channel::SessionChannel;
use store_keys::ClusterId;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The connection.
pub type NamedChannel = SessionChannel<InterceptedService<Channel, Named>>;

/// What it adds to each request; `None`: nothing, and any cluster will do.
#[derive(Clone, Debug)]
pub struct Named(Option<MetadataValue<Ascii>>);

impl Named {
    /// Names this cluster.
    ///
    /// # Panics
    /// Never: an id is hexadecimal digits.
    #[must_use]
    pub fn new(cluster: Option<ClusterId>) -> Named {
        Named(cluster.map(|id| id.to_string().parse().expect("digits are ASCII")))
    }
}

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(id) = &self.0 {
            request.metadata_mut().insert(CLUSTER_HEADER, id.clone());
        }
        Ok(request)
    }
}

/// A connection to what is meant to be of this cluster.
#[must_use]
pub fn open(channel: Channel, cluster: Option<ClusterId>) -> NamedChannel {
    SessionChannel::new(InterceptedService::new(channel, Named::new(cluster)), None)
}

/// The same, to a portal that is to answer in this session.
#[must_use]
pub fn open_in_session(channel: Channel, cluster: Option<ClusterId>, session: KeptSession) -> NamedChannel {
    SessionChannel::new(InterceptedService::new(channel, Named::new(cluster)), Some(session))
}
