//! A01, A02, A03: no key, a wrong one, one that was good until just now.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use terapi::ids::{EnvironmentName, Timestamp};
use terapi::keys::{ApiKey, PresentedKey, Scopes};

use super::super::{Ground, case, library_case};
use crate::service::PATIENCE;

/// The problem without what names the request.
async fn refusal(ground: &Ground, path: &str, headers: &[(&str, &str)]) -> Value {
    let mut request = ground.client.with_key("").request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut problem = ground.client.send(request).await.problem(401, "unauthorized");
    problem["request_id"].take();
    problem
}

#[test]
fn whoever_has_no_good_key_gets_the_same_answer() {
    case("A01", async |ground| {
        let good = &ground.client.key;
        let none = refusal(ground, "/v1/key", &[]).await;
        let bearer = format!("Bearer {good}");
        let (id, _) = good.rsplit_once('_').unwrap();
        let wrong = format!("Bearer {}", good.replace(&good[good.len() - 20..good.len() - 10], "aaaaaaaaaa"));
        let other = format!("Bearer {id}_{}", "a".repeat(58));
        let nowhere = bearer.replacen("terapi_default_", "terapi_nowhere_", 1);
        for headers in [
            &[("authorization", "")][..],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Basic dGVzdDp0ZXN0")],
            &[("authorization", good)],
            &[("authorization", &format!("Bearer {good},{good}"))],
            &[("authorization", &format!("Bearer {good}x"))],
            &[("authorization", &wrong)],
            &[("authorization", &other)],
            &[("authorization", &nowhere)],
            &[("authorization", "Bearer \u{fc}")],
            &[("authorization", &"x".repeat(20_000))],
            &[("authorization", &bearer), ("authorization", &bearer)],
            &[("authorization", "Bearer x"), ("authorization", &bearer)],
            &[("x-api-key", good), ("cookie", &bearer), ("proxy-authorization", &bearer)],
        ] {
            assert_eq!(refusal(ground, "/v1/key", headers).await, none, "{headers:?}");
        }
        for path in [format!("/v1/key?key={good}"), format!("/v1/key?access_token={good}"), format!("/v1/{good}")] {
            assert_eq!(refusal(ground, &path, &[]).await, none);
        }
        ground.client.get("/v1/key").await.ok();
        vec![]
    });
}

/// Welch's t of two samples, of each the nine tenths that took least: interruptions are no news.
fn welch(mut samples: [Vec<f64>; 2]) -> f64 {
    let [(mean, error), (other_mean, other_error)] = samples.each_mut().map(|sample| {
        sample.sort_by(f64::total_cmp);
        sample.truncate(sample.len() * 9 / 10);
        let count = f64::from(u32::try_from(sample.len()).unwrap());
        let mean = sample.iter().sum::<f64>() / count;
        let variance = sample.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (mean - other_mean) / (error + other_error).sqrt()
}

#[test]
fn how_long_a_wrong_key_takes_does_not_say_how_much_of_it_is_right() {
    library_case("A02", || {
        let (environment, now) = (EnvironmentName::default(), Timestamp(0));
        let (text, row) = ApiKey::generate(&environment, "test", Scopes::all(), now).unwrap();
        let (_, other) = ApiKey::generate(&environment, "test", Scopes::all(), now).unwrap();
        let presented: PresentedKey = text.expose().parse().unwrap();
        // The same key, but for how much of the hash that it is compared with agrees.
        let hash: String = row.hash.into();
        let foreign: String = other.hash.into();
        let sharing = |letters: usize| {
            let mut json = serde_json::to_value(&row).unwrap();
            json["hash"] = json!(format!("{}{}", &hash[..letters], &foreign[letters..]));
            serde_json::from_value::<ApiKey>(json).unwrap()
        };
        assert!(row.verify(&presented, now).is_ok());
        for letters in [8, 16, 40, 62] {
            let rows = [sharing(0), sharing(letters)];
            // A machine that does something else meanwhile may look like a difference. One that is there is there each time.
            let differs = (0..5).all(|_| {
                let mut samples = [Vec::new(), Vec::new()];
                for nth in 0..20_000_usize {
                    // The one and the other in turns that nobody's clock follows.
                    let which = (nth ^ (nth >> 3) ^ (nth >> 7)) % 2;
                    let start = Instant::now();
                    for _ in 0..16 {
                        assert!(
                            std::hint::black_box(&rows[which]).verify(std::hint::black_box(&presented), now).is_err()
                        );
                    }
                    samples[which].push(start.elapsed().as_secs_f64());
                }
                welch(samples).abs() >= 4.5
            });
            assert!(!differs, "{letters} letters of the hash can be told from none");
        }
    });
}

#[test]
fn a_key_that_is_taken_away_or_over_opens_nothing_also_where_it_is_in_use() {
    case("A03", async |ground| {
        let path = "/v1/connections/canary/records/Item";
        let cursor = ground.client.get(path).await.ok()["cursor"].as_str().unwrap().to_owned();
        for deleted in [true, false] {
            let mut spec = json!({ "name": "a reader", "scopes": ["read-records"] });
            if !deleted {
                spec["expires_at"] = json!((jiff::Timestamp::now() + Duration::from_secs(1)).to_string());
            }
            let made = ground.client.post("/v1/keys", &spec).await.ok();
            let client = ground.client.with_key(made["text"].as_str().unwrap());
            let follow = client.request(Method::GET, &format!("{path}?cursor={cursor}"));
            let mut events = follow.header("accept", "text/event-stream").send().await.unwrap();
            assert_eq!(events.status(), 200);
            let waiting_path = format!("{path}?cursor={cursor}&wait=60s");
            let waiting = client.get(&waiting_path);
            let over = async {
                if deleted {
                    // The other request is under way by then, or it is refused at once, which is as good.
                    ground.canary().await;
                    ground.client.delete(&format!("/v1/keys/{}", made["id"].as_str().unwrap())).await.ok();
                }
                Instant::now()
            };
            let ended = async {
                while let Ok(Some(_)) = tokio::time::timeout(PATIENCE, events.chunk()).await.expect("it ends") {}
                Instant::now()
            };
            let waited = async { (waiting.await, Instant::now()) };
            let (over, ended, (answer, answered)) = tokio::join!(over, ended, waited);
            // An expired key was good for a second more.
            let patience = Duration::from_secs(if deleted { 5 } else { 6 });
            assert!(ended.saturating_duration_since(over) < patience, "{:?}", ended - over);
            assert!(answered.saturating_duration_since(over) < patience, "{:?}", answered - over);
            answer.problem(401, "unauthorized");
            client.get(path).await.problem(401, "unauthorized");
            if !deleted {
                ground.client.delete(&format!("/v1/keys/{}", made["id"].as_str().unwrap())).await.ok();
            }
        }
        vec![]
    });
}
