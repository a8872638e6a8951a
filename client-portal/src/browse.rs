//! BrowseProducts and GetProduct: what can be ordered, with its stock; of its rules only those that bound an order.

use portal::document::rules::for_client;
use portal::error::Kind;
use portal::id::Pid;
use portal::list::Query;
use portal::{Error, Portal};
use proto::portal::{BrowseProductsRequest, BrowseProductsResponse, Product, ShopGetProductRequest};

pub(crate) async fn browse_products(
    portal: &Portal,
    requested: &BrowseProductsRequest,
) -> Result<BrowseProductsResponse, Error> {
    portal.registered(&requested.cid).await?;
    let page = portal.products(&Query::browsing(requested)?).await?;
    let products = page.products.into_iter().map(for_client).collect();
    Ok(BrowseProductsResponse { products, next: page.next, damage: page.damage })
}

pub(crate) async fn get_product(
    portal: &Portal,
    requested: &ShopGetProductRequest,
) -> Result<Product, Error> {
    Pid::parse("pid", &requested.pid)?;
    portal.registered(&requested.cid).await?;
    let pid = portal.pid("pid", &requested.pid).await?;
    let product = portal.product(&pid).await?;
    product.map(for_client).ok_or_else(|| Error::NotFound { kind: Kind::Product, id: pid.to_string() })
}
