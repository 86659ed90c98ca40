//! Which request goes where.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};
use percent_encoding::percent_decode_str;

use super::answer::{Answered, Fault, ok};
use super::{Shared, dynos, logs, resources, settings};

pub(super) async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Answered {
    let path = request.uri().path().to_owned();
    let decoded = |piece: &str| percent_decode_str(piece).decode_utf8_lossy().into_owned();
    let pieces: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    match (request.method(), pieces.as_slice()) {
        (&Method::GET, ["account"]) => ok(&resources::account(shared)),
        (&Method::GET, ["apps"]) => ok(&[resources::app(shared)]),
        (_, ["apps", app, rest @ ..]) => {
            if *app != shared.name && *app != shared.identity.app_id {
                return Err(Fault::not_found("app"));
            }
            of_app(shared, request.method().clone(), rest, request).await
        }
        _ => Err(Fault::no_endpoint()),
    }
}

async fn of_app(
    shared: &Arc<Shared>,
    method: Method,
    rest: &[&str],
    request: Request<Incoming>,
) -> Answered {
    match (&method, rest) {
        (&Method::GET, []) => ok(&resources::app(shared)),
        (&Method::PATCH, []) => settings::maintain(shared, request.into_body()).await,
        (&Method::GET, ["dynos"]) => dynos::list(shared),
        (&Method::POST, ["dynos"]) => dynos::run(shared, request.into_body()).await,
        (&Method::DELETE, ["dynos"]) => dynos::restart(shared, ""),
        (&Method::GET, ["dynos", dyno]) => dynos::show(shared, dyno),
        (&Method::DELETE, ["dynos", dyno]) => dynos::restart(shared, dyno),
        (&Method::POST, ["dynos", dyno, "actions", "stop"]) => dynos::stop(shared, dyno).await,
        (&Method::DELETE, ["formations", process_type]) => dynos::restart(shared, process_type),
        (&Method::GET, ["formation"]) => dynos::formation(shared).await,
        (&Method::PATCH, ["formation"]) => dynos::scale(shared, request.into_body()).await,
        (&Method::GET, ["config-vars"]) => settings::config(shared),
        (&Method::PATCH, ["config-vars"]) => settings::configure(shared, request.into_body()).await,
        (&Method::GET, ["releases"]) => settings::releases(shared, request.headers()),
        (&Method::POST, ["releases"]) => settings::roll_back(shared, request.into_body()).await,
        (&Method::GET, ["releases", release]) => settings::release(shared, release),
        (&Method::GET, ["releases", release, "config-vars"]) => {
            settings::config_of(shared, release)
        }
        (&Method::POST, ["log-sessions"]) => logs::session(shared, request.into_body()).await,
        (&Method::GET, ["log-drains"]) => settings::drains(shared),
        (&Method::POST, ["log-drains"]) => settings::add_drain(shared, request.into_body()).await,
        (&Method::GET, ["log-drains", drain]) => settings::drain(shared, drain),
        (&Method::DELETE, ["log-drains", drain]) => settings::remove_drain(shared, drain),
        _ => Err(Fault::no_endpoint()),
    }
}
