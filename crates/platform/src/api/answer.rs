//! Answers and refusals in Heroku's shapes.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::control::Reply;
use crate::error::Error;

/// More is nothing that the API takes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    id: &'static str,
    message: String,
    resource: Option<&'static str>,
}

/// An answer, or why there is none.
pub(super) type Answered<T = Response<Reply>> = Result<T, Fault>;

impl Fault {
    fn new(status: StatusCode, id: &'static str, message: impl Into<String>) -> Self {
        Self { status, id, message: message.into(), resource: None }
    }

    pub(super) fn unauthorized() -> Self {
        let message = "Invalid credentials provided.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// For what is served nowhere.
    pub(super) fn no_endpoint() -> Self {
        let message = "The requested API endpoint was not found. Are you using the right HTTP \
                       verb (i.e. `GET` vs. `POST`), and did you specify your intended version \
                       with the `Accept` header?";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// For something that is not there.
    pub(super) fn not_found(resource: &'static str) -> Self {
        let message = format!("Couldn't find that {resource}.");
        let fault = Self::new(StatusCode::NOT_FOUND, "not_found", message);
        Self { resource: Some(resource), ..fault }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_params", message)
    }

    pub(super) fn into_response(self) -> Response<Reply> {
        let mut body = json!({ "id": self.id, "message": self.message });
        if let Some(resource) = self.resource {
            body["resource"] = resource.into();
        }
        response(self.status, &body)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::UnknownDyno { .. } | Error::DynoName(_) => Self::not_found("process"),
            Error::UnknownRelease { .. } => Self::not_found("release"),
            Error::UnknownDrain => Self::not_found("log drain"),
            Error::ShuttingDown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string())
            }
            Error::TooManyOneOffs { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "cannot_run_above_limit",
                error.to_string(),
            ),
            Error::ReleaseFailed { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "release_failed", error.to_string())
            }
            Error::Kept { .. } | Error::Random(_) | Error::Spawn { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", error.to_string())
            }
            _ => Self::invalid(error.to_string()),
        }
    }
}

/// 200 with this.
pub(super) fn ok(body: &impl Serialize) -> Answered {
    Ok(response(StatusCode::OK, body))
}

/// 201 with this.
pub(super) fn created(body: &impl Serialize) -> Answered {
    Ok(response(StatusCode::CREATED, body))
}

/// 202 with an empty object: it will be done.
pub(super) fn accepted() -> Answered {
    Ok(response(StatusCode::ACCEPTED, &json!({})))
}

fn response(status: StatusCode, body: &impl Serialize) -> Response<Reply> {
    // Our own resources are always JSON.
    let text = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Reply::Whole(Full::new(text.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of a request; nothing at all counts as `{}`.
pub(super) async fn read<T: DeserializeOwned>(body: Incoming) -> Answered<T> {
    let bad = |message: String| Fault::new(StatusCode::BAD_REQUEST, "bad_request", message);
    let bytes = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let bytes = bytes.map_err(|error| bad(error.to_string()))?.to_bytes();
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(|error| {
        // The text may hold secrets, so only the place is told.
        let (line, column) = (error.line(), error.column());
        bad(format!("Unable to parse the JSON request body at line {line}, column {column}."))
    })
}

/// A number that came as one or as text, as clients send both.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
