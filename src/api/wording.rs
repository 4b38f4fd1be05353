//! What a body got wrong, in words of the API: what its reader says of it is about types of this program.

use serde_json::error::Category;

use super::problem::Problem;

/// Longer names are no slip of the pen.
const SLIP_OCTETS_MAX: usize = 64;

/// A value that JSON can carry and the API cannot use.
pub(super) fn impossible(pointer: String, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    // The pointer says where it is.
    let text = text.rfind(" at line ").map_or(&*text, |end| &text[..end]);
    let field = pointer.rsplit('/').next().unwrap_or_default();
    let detail = sentence(field, text);
    Problem::invalid(pointer, detail)
}

fn sentence(field: &str, text: &str) -> String {
    let quoted = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('`'));
    if let Some((name, known)) = text.strip_prefix("unknown field `").and_then(|rest| rest.rsplit_once("`, expected "))
    {
        return unknown_field(name, known);
    }
    if let Some(name) = quoted("duplicate field `") {
        return format!("the field `{name}` stands twice");
    }
    if let Some(name) = quoted("missing field `") {
        return format!("the field `{name}` is missing");
    }
    let Some((found, expected)) = text.rsplit_once(", expected ") else { return text.to_owned() };
    let is_text = found.starts_with("invalid type: string");
    match expected {
        "i64" | "u64" | "f64" if is_text => "a number is expected here, without quotes".to_owned(),
        "i64" | "u64" if found.contains("floating point") => "a whole number is expected here".to_owned(),
        "u64" if found.contains("`-") => "a number that is not negative is expected here".to_owned(),
        "i64" | "u64" if found.starts_with("invalid value") => "the number is too large".to_owned(),
        "i64" | "u64" | "f64" => "a number is expected here".to_owned(),
        "a string" => match example(field) {
            Some(example) => format!("a text such as \"{example}\" is expected here"),
            None => "a text is expected here, in quotes".to_owned(),
        },
        "a boolean" => "true or false is expected here, without quotes".to_owned(),
        "a sequence" => "a list is expected here: [...]".to_owned(),
        "an object or \"off\"" => "an object or \"off\" is expected here".to_owned(),
        "an object" => "an object is expected here: {...}".to_owned(),
        _ => text.to_owned(),
    }
}

/// A text that a field may hold, for those whose form is not obvious.
fn example(field: &str) -> Option<&'static str> {
    Some(match field {
        "ttl" | "interval" => "5s",
        "lease_ttl" => "15s",
        "timeout" => "1s",
        "evict_after" => "never",
        "address" => "10.0.0.7",
        "protocol" | "type" => "tcp",
        "path" => "/healthz",
        "server_name" => "web.example.com",
        "service" => "payments.v1.Api",
        "url" => "http://10.0.0.7:8080/healthz",
        "method" => "GET",
        "expect_status" => "200-299",
        "initial_health" => "passing",
        "state" => "draining",
        _ => return None,
    })
}

/// `known` are the names that there are, each in backquotes.
fn unknown_field(name: &str, known: &str) -> String {
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    match nearest(name, &known) {
        Some(nearest) => format!("there is no field `{name}`; did you mean `{nearest}`?"),
        None if name == "state" => "an instance is up when it registers; PATCH changes its `state`".to_owned(),
        None => {
            let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("there is no field `{name}`, but {}", known.join(", "))
        }
    }
}

/// The name that a few slips of the pen, or an abbreviation, made of another.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > SLIP_OCTETS_MAX {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let slips = |known: &&str| strsim::osa_distance(&name, known);
    let near = known.iter().copied().min_by_key(slips).filter(|near| slips(near) <= (name.len() / 3).max(1));
    let shares_start =
        |known: &&str| known.len().min(name.len()) >= 4 && (name.starts_with(*known) || known.starts_with(&name));
    near.or_else(|| known.iter().copied().find(shares_start))
}

/// A body that is no JSON.
pub(super) fn not_json(octets: &[u8], error: &serde_json::Error) -> Problem {
    if octets.iter().all(u8::is_ascii_whitespace) {
        return Problem::not_json("the body is empty: send a JSON object");
    }
    let text = error.to_string();
    let what = match error.classify() {
        Category::Eof => "the body ends before its JSON does",
        _ if text.starts_with("recursion limit") => "it nests too deep",
        _ if text.starts_with("trailing characters") => "something follows the JSON object",
        _ if text.starts_with("trailing comma") => "a comma too many",
        _ if text.starts_with("number out of range") => "the number is too large",
        _ if text.starts_with("invalid unicode") || text.starts_with("lone") => "the text is not Unicode",
        _ => "this is no JSON",
    };
    Problem::not_json(format!("{what}, at line {} column {}", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_abbreviations_are_recognised_and_nothing_else() {
        let known =
            ["address", "addresses", "port", "ports", "meta", "checks", "lease_ttl", "lease", "path", "timeout"];
        for (name, meant) in [
            ("pth", Some("path")),
            ("chekcs", Some("checks")),
            ("leaseTTL", Some("lease_ttl")),
            ("lease-ttl", Some("lease_ttl")),
            ("metadata", Some("meta")),
            ("addr", Some("address")),
            ("prot", Some("port")),
            ("state", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), meant, "{name}");
        }
        assert_eq!(nearest(&"port".repeat(20_000), &known), None);
    }
}
