//! The operations on the shop as a whole: its rules, the rows by which its lists are sorted, and what became of a request.

use portal::operation::{Effect, Operation};
use portal::transport::resource::{Method, PAGE, Resource};
use portal::{Error, Portal};
use proto::portal::{
    GetShopRequest, ReindexRequest, ReindexResponse, RequestId, Settled, ShopRules, StaffSettleRequest,
    UpdateShopRequest,
};

use crate::{reindex, settle, shop};

/// GetShop.
#[derive(Debug)]
pub struct GetShop;

impl Operation for GetShop {
    const NAME: &'static str = "GetShop";
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Get, "/v1/shop");
    type Request = GetShopRequest;
    type Response = ShopRules;

    fn etag(shop: &ShopRules) -> Option<u64> {
        Some(shop.etag)
    }

    async fn run(portal: &Portal, _request: GetShopRequest) -> Result<ShopRules, Error> {
        shop::get_shop(portal).await
    }
}

/// UpdateShop.
#[derive(Debug)]
pub struct UpdateShop;

impl Operation for UpdateShop {
    const NAME: &'static str = "UpdateShop";
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Put, "/v1/shop").matching();
    type Request = UpdateShopRequest;
    type Response = ShopRules;

    fn id(request: &mut UpdateShopRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    fn etag(shop: &ShopRules) -> Option<u64> {
        Some(shop.etag)
    }

    async fn run(portal: &Portal, request: UpdateShopRequest) -> Result<ShopRules, Error> {
        shop::update_shop(portal, request).await
    }
}

/// Reindex.
#[derive(Debug)]
pub struct Reindex;

impl Operation for Reindex {
    const NAME: &'static str = "Reindex";
    // What it writes follows from the records: a repetition finds it done.
    const EFFECT: Effect = Effect::Reads;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/reindex").with(PAGE);
    type Request = ReindexRequest;
    type Response = ReindexResponse;

    async fn run(portal: &Portal, request: ReindexRequest) -> Result<ReindexResponse, Error> {
        reindex::reindex(portal, &request).await
    }
}

/// Settle.
#[derive(Debug)]
pub struct Settle;

impl Operation for Settle {
    const NAME: &'static str = "Settle";
    // It may close an id.
    const EFFECT: Effect = Effect::Changes;
    const RESOURCE: Resource = Resource::new(Method::Post, "/v1/settle");
    type Request = StaffSettleRequest;
    type Response = Settled;

    fn id(request: &mut StaffSettleRequest) -> Option<&mut Option<RequestId>> {
        Some(&mut request.request)
    }

    async fn run(portal: &Portal, request: StaffSettleRequest) -> Result<Settled, Error> {
        settle::settle(portal, request).await
    }
}
