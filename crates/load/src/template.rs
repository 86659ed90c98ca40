//! Finds the values in a path, so that requests that differ only in them are of one class.

/// A path with `{}` in place of each value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Templated {
    pub(crate) template: String,
    /// The values in order; `None` where a value is not a whole number.
    pub(crate) values: Vec<Option<i64>>,
}

/// Values are segments that are numbers or look like made-up ids, and all values of the query.
pub(crate) fn templated(path: &str) -> Templated {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut found = Templated { template: String::with_capacity(path.len()), values: Vec::new() };
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            found.template.push('/');
        }
        if is_value(segment) {
            found.value(segment);
        } else {
            found.template.push_str(segment);
        }
    }
    for (index, pair) in query.iter().flat_map(|query| query.split('&')).enumerate() {
        found.template.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, value)) => {
                found.template.push_str(key);
                found.template.push('=');
                found.value(value);
            }
            None => found.template.push_str(pair),
        }
    }
    found
}

impl Templated {
    fn value(&mut self, value: &str) {
        self.template.push_str("{}");
        self.values.push(value.parse().ok().filter(|number: &i64| number.to_string() == value));
    }
}

/// A number, or 16 and more hexadecimal digits (hyphens apart) as UUIDs and hashes have. A segment
/// that holds `{}` counts as a value too, or it would be taken for a place of ours.
fn is_value(segment: &str) -> bool {
    let digits = segment.chars().filter(|c| *c != '-').count();
    let hexadecimal = segment.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    let number = !segment.is_empty() && segment.chars().all(|c| c.is_ascii_digit());
    number || (hexadecimal && digits >= 16) || segment.contains("{}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found() {
        let cases: [(&str, &str, &[Option<i64>]); 9] = [
            ("/", "/", &[]),
            ("/popular", "/popular", &[]),
            ("/product/17", "/product/{}", &[Some(17)]),
            ("/a/1/b/2/", "/a/{}/b/{}/", &[Some(1), Some(2)]),
            ("/checkout?customer=812&fast", "/checkout?customer={}&fast", &[Some(812)]),
            ("/search?q=red+shoes&page=2", "/search?q={}&page={}", &[None, Some(2)]),
            ("/cart/7f9c24e8-3b12-4ef0-9a4f-0c1d2e3f4a5b", "/cart/{}", &[None]),
            // A leading zero would be lost if it were drawn as a number.
            ("/zip/01234", "/zip/{}", &[None]),
            ("/odd/{}/x", "/odd/{}/x", &[None]),
        ];
        for (path, template, values) in cases {
            let expected = Templated { template: template.into(), values: values.to_vec() };
            assert_eq!(templated(path), expected, "{path}");
        }
    }
}
