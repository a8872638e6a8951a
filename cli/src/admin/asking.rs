//! One call of an operation of the admin portals.

use portal::operation::Operation;
use portal::transport::calling::over_grpc;

use crate::failure::Failure;
use crate::reach::places::Call;
use crate::reach::portals::Portals;

/// Asks one of them.
///
/// # Errors
/// What the portal says, or that none could be asked.
pub async fn ask<O: Operation>(
    portals: &Portals,
    call: Call<'_>,
    message: O::Request,
) -> Result<O::Response, Failure> {
    let service = admin_portal::SERVICE;
    let rpc = |channel, message| over_grpc::<O, _>(channel, service, tonic::Request::new(message));
    portals.send(call, message, rpc).await
}
