//! Docker's daemon.json: `{"runtimes": {"runu": {"path": …}}}` beside whatever else is there.

use std::{fmt, path::Path};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};

use super::{InstallError, Wish};

/// The runtime's name, behind `--runtime`.
const NAME: &str = "runu";

/// See [`super::Engine::configured`].
pub(super) fn configured(
    text: Option<&str>,
    wish: Wish<'_>,
    path: &Path,
) -> Result<Option<String>, InstallError> {
    // Docker takes an empty file for an empty object.
    let text = text.filter(|text| !text.trim().is_empty());
    let object = |text, place| Object::parsed(text, place, path);
    let mut config = object(text.unwrap_or("{}"), "the whole")?;
    let mut runtimes = object(config.text("runtimes").unwrap_or("{}"), "runtimes")?;
    let changed = match wish {
        Wish::Known(program) => {
            // Other keys of it, `runtimeArgs`, are the operator's.
            let mut runtime = object(runtimes.text(NAME).unwrap_or("{}"), "runtimes.runu")?;
            runtime.set("path", program) && runtimes.set(NAME, &runtime) && config.set("runtimes", &runtimes)
        }
        Wish::Unknown => {
            let known = runtimes.remove(NAME);
            if known && runtimes.0.is_empty() {
                config.remove("runtimes");
            } else if known {
                config.set("runtimes", &runtimes);
            }
            // With a default that it does not know, Docker would not start any more.
            let default =
                config.text("default-runtime") == Some("\"runu\"") && config.remove("default-runtime");
            known || default
        }
    };
    Ok(match text {
        text if !changed => text.map(str::to_owned),
        _ if config.0.is_empty() => None,
        _ => serde_json::to_string_pretty(&config).ok().map(|text| text + "\n"),
    })
}

/// A JSON object whose keys keep their order and whose values keep their text.
#[derive(Default)]
struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    fn parsed(text: &str, place: &'static str, path: &Path) -> Result<Self, InstallError> {
        serde_json::from_str(text).map_err(|source| match source.classify() {
            serde_json::error::Category::Data => InstallError::NotAnObject { path: path.to_owned(), place },
            _ => InstallError::NotJson { path: path.to_owned(), source },
        })
    }

    /// The text of a value.
    fn text(&self, key: &str) -> Option<&str> {
        // As Docker does, the last one of a key that comes twice.
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.get())
    }

    /// Sets a value in its place, or at the end; whether that changes anything.
    fn set(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> bool {
        let Ok(value) = to_raw_value(value) else { return false };
        if self.text(key) == Some(value.get()) {
            return false;
        }
        match self.0.iter_mut().rev().find(|(name, _)| name == key) {
            Some((_, place)) => *place = value,
            None => self.0.push((key.to_owned(), value)),
        }
        true
    }

    /// Removes a key; whether it was there.
    fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(name, _)| name != key);
        self.0.len() < before
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn install(text: &str) -> String {
        configured(Some(text), Wish::Known("/bin/runu"), Path::new("f")).unwrap().unwrap()
    }

    fn uninstall(text: &str) -> Option<String> {
        configured(Some(text), Wish::Unknown, Path::new("f")).unwrap()
    }

    #[test]
    fn runtime_is_added_beside_other_settings_in_their_order() {
        let text =
            install(r#"{"log-level": "warn", "bip": "10.0.0.1/24", "runtimes": {"x": {"path": "/x"}}}"#);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["runtimes"], json!({"x": {"path": "/x"}, "runu": {"path": "/bin/runu"}}));
        assert!(text.find("log-level") < text.find("bip"), "{text}");
    }

    #[test]
    fn runtime_that_is_known_leaves_the_text_as_it_is() {
        let text = r#"{"runtimes":{"runu":{"path":"/bin/runu"}}}"#;
        assert_eq!(install(text), text);
    }

    #[test]
    fn arguments_of_the_runtime_are_kept() {
        let text = install(r#"{"runtimes": {"runu": {"path": "/old", "runtimeArgs": ["--debug"]}}}"#);
        assert!(text.contains("--debug") && !text.contains("/old"), "{text}");
    }

    #[test]
    fn uninstall_keeps_the_rest() {
        let text = uninstall(r#"{"runtimes": {"runu": {"path": "/bin/runu"}}, "debug": true}"#).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"debug": true}));
    }

    #[test]
    fn uninstall_of_the_default_runtime_gives_docker_its_own_back() {
        let text = r#"{"default-runtime": "runu", "runtimes": {"runu": {"path": "/bin/runu"}}}"#;
        assert_eq!(uninstall(text), None);
    }

    #[test]
    fn uninstall_without_the_runtime_leaves_the_text_as_it_is() {
        let text = "{ \"debug\" : true }";
        assert_eq!(uninstall(text).as_deref(), Some(text));
    }

    #[test]
    fn file_that_is_no_json_is_refused() {
        let refused = configured(Some("{"), Wish::Known("/bin/runu"), Path::new("f"));
        assert!(matches!(refused, Err(InstallError::NotJson { .. })), "{refused:?}");
    }

    #[test]
    fn file_of_another_shape_is_refused() {
        for text in ["[]", "{\"runtimes\": []}"] {
            let refused = configured(Some(text), Wish::Known("/bin/runu"), Path::new("f"));
            assert!(matches!(refused, Err(InstallError::NotAnObject { .. })), "{refused:?}");
        }
    }
}
