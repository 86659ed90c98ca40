use serde_json::{Value, json};

use super::{Diagnosis, Story, pretty};
use crate::sample;
use crate::story::StoryReport;

fn parsed<T: serde::Serialize>(shape: &T) -> Value {
    serde_json::from_str(&pretty(shape)).unwrap()
}

/// The shape that issue 2 promises to users, field by field.
#[test]
fn the_story_has_the_promised_shape() {
    let diagnosis = sample::diagnosis();
    let story = parsed(&Story::from(&sample::story(&diagnosis)));
    assert_eq!(story["seed"], 42);
    assert_eq!(story["ok"], true);
    assert_eq!(story["acts"].as_array().unwrap().len(), 8);
    assert_eq!(story["acts"][0]["name"], "bug report");
    assert_eq!(story["acts"][0]["ok"], true);
    assert_eq!(story["acts"][0]["seconds"], 24.2);
    assert_eq!(
        story["baseline"],
        json!({"requests": 3840, "failed": 203, "failed_by_dyno": {"web.1": 194, "web.2": 9}})
    );
    assert_eq!(story["run_compare"]["web.1"]["status"], 503);
    assert_eq!(story["run_compare"]["web.2"]["status"], 200);
    assert_eq!(story["curve"][5]["rate"], 80.0);
    assert_eq!(story["curve"][5]["failed_share"], 0.1675);
    assert_eq!(story["diagnosis"]["cause"], "slot_exhaustion");
    assert_eq!(story["diagnosis"]["culprit"], "web.2");
    assert_eq!(story["diagnosis"]["top"][1]["cause"], "missing_index");
    assert_eq!(story["arms"][3]["name"], "index+pool");
    assert_eq!(story["arms"][3]["requests"], 3840);
    assert_eq!(story["arms"][3]["failed"], 0);
    assert_eq!(story["arms"][3]["p99_ms"], 62.0);
    assert_eq!(story["proof"]["confidence"], 0.996_503);
    assert_eq!(story["proof"]["failure_free_seconds"], 31.0);
}

#[test]
fn a_story_that_did_not_begin_is_still_an_object() {
    let story = parsed(&Story::from(&StoryReport::default()));
    assert_eq!(story["ok"], false);
    assert_eq!(story["acts"], json!([]));
    assert_eq!(story["diagnosis"], Value::Null);
    assert_eq!(story["proof"], Value::Null);
}

#[test]
fn a_diagnosis_is_mapped_in_full() {
    let diagnosis = parsed(&Diagnosis::from(&sample::diagnosis()));
    assert_eq!(diagnosis["version"], 1);
    assert_eq!(diagnosis["cause"], "slot_exhaustion");
    assert_eq!(diagnosis["seconds"], 60.0);
    assert_eq!(diagnosis["dynos"][1]["dyno"], "web.2");
    assert_eq!(diagnosis["dynos"][1]["http_failures"], 9);
    assert_eq!(diagnosis["dynos"][1]["failure_rate_interval"].as_array().unwrap().len(), 2);
    assert_eq!(diagnosis["blame"][0]["resource"], "server_slots");
    assert_eq!(diagnosis["blame"][2]["statement"]["fingerprint"], "c0ffee00deadbeef");
    assert_eq!(diagnosis["findings"][0]["evidence_for"][1]["measured"], "192 × SQLSTATE 53300");
    assert_eq!(diagnosis["findings"][1]["culprit_detail"]["statement"]["text"], sample::HOSTILE);
    assert_eq!(diagnosis["advice"][0]["action"], "create_index");
    assert_eq!(diagnosis["advice"][1], json!({"action": "limit_pool", "limit": 12, "because": []}));
    assert_eq!(diagnosis["contrast"]["p_value"], 3.1e-41);
    assert_eq!(diagnosis["coincidence"]["query_ms_healthy"], 7.9);
}
