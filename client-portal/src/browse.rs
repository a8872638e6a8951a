//! BrowseProducts and GetProduct: what can be ordered, with its stock.

use portal::error::Kind;
use portal::id::Pid;
use portal::{Error, Portal};
use proto::portal::{BrowseProductsRequest, BrowseProductsResponse, Product, ShopGetProductRequest};

pub(crate) async fn browse_products(
    portal: &Portal,
    requested: &BrowseProductsRequest,
) -> Result<BrowseProductsResponse, Error> {
    portal.registered(&requested.cid).await?;
    let page = portal.products(&requested.prefix, requested.limit, &requested.after).await?;
    Ok(BrowseProductsResponse { products: page.products, next: page.next, damage: page.damage })
}

pub(crate) async fn get_product(
    portal: &Portal,
    requested: &ShopGetProductRequest,
) -> Result<Product, Error> {
    Pid::parse("pid", &requested.pid)?;
    portal.registered(&requested.cid).await?;
    let pid = portal.pid("pid", &requested.pid).await?;
    let product = portal.product(&pid).await?;
    product.ok_or_else(|| Error::NotFound { kind: Kind::Product, id: pid.to_string() })
}
