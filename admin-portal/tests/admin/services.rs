//! Services beside the operations: status, health, reflection; and the statuses as clients of other languages
//! see them.

use std::collections::BTreeSet;

use proto::portal::portal_client::PortalClient;
use proto::portal::{GetClientRequest, InsertClientRequest, PortalStatusRequest};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

use portal::Error;
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer};

#[tokio::test]
async fn status_counts_and_tells_the_state_of_the_cache() {
    let fixture = Fixture::open().await;
    let status = async || {
        let asked = PortalClient::new(fixture.channel.clone()).status(PortalStatusRequest {}).await;
        asked.unwrap().into_inner()
    };
    // What the portal tends to by itself comes first.
    let shop = async || fixture.record(portal::key::shop()).await.filter(|shop| shop.version == 2);
    fixture.until("the shop is tended", shop).await;
    let before = status().await;
    fixture.insert_client("ana").await;
    fixture.admin().get_client(GetClientRequest { cid: "ana".to_owned() }).await.unwrap();
    let status = status().await;
    // The mark of the index was looked for and set, and the client inserted.
    assert_eq!((status.name.as_str(), status.transactions), ("test", before.transactions + 2));
    assert!(status.bypasses > before.bypasses);
    assert_eq!((status.groups.len(), status.groups[0].state.as_str()), (1, "COLD"), "there is no bus");
}

#[tokio::test]
async fn health_says_serving() {
    let fixture = Fixture::open().await;
    let mut health = HealthClient::new(fixture.channel.clone());
    for service in ["", "feira.portal.v1.Admin", "feira.portal.v1.Portal"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service}");
    }
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_nothing_else() {
    let fixture = Fixture::open().await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(fixture.channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("a list") };
    let services: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["feira.portal.v1.Admin", "feira.portal.v1.Portal", "grpc.health.v1.Health"] {
        assert!(services.contains(name), "{name} of {services:?}");
    }
    assert!(!services.iter().any(|name| name.starts_with("feira.store")), "{services:?}");
}

#[tokio::test]
async fn a_status_carries_google_details() {
    let fixture = Fixture::open().await;
    let request = InsertClientRequest { cid: String::new(), data: "{}".to_owned(), request: None };
    let status = fixture.admin().insert_client(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("feira", "INVALID_FIELD"));
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "cid");
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused_and_nothing_is_done() {
    let fixture = Fixture::admitting(1).await;
    fixture.store.plan(Some(Fault::DelayAfter(std::time::Duration::from_millis(300))));
    let insert = |cid: &str| {
        let request = InsertClientRequest { cid: cid.to_owned(), data: "{}".to_owned(), request: None };
        let mut admin = fixture.admin();
        async move { answer(admin.insert_client(request).await) }
    };
    let (one, other) = futures::future::join(insert("ana"), insert("bia")).await;
    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(matches!(refused[..], [Error::Overloaded { .. }]), "{refused:?}");
    insert("caio").await.unwrap();
}
