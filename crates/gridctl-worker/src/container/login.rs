//! The caller's `docker login`: what their Docker's own command line would send with a pull.
//! Invariant: credentials go to the daemon of this machine alone, and are never printed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use data_encoding::BASE64;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Docker Hub, as logins name it.
const HUB: &str = "https://index.docker.io/v1/";
/// A helper has so long to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LoginFile {
    auths: HashMap<String, Login>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The registry of an image, as logins name it.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

/// What to show the registry of `image`, if the caller has logged in there.
pub(super) async fn credentials(image: &str) -> Option<DockerCredentials> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home)?;
    let text = tokio::fs::read(dir.join("config.json")).await.ok()?;
    let file: LoginFile = serde_json::from_slice(&text).ok()?;
    let registry = registry(image);
    let helper = file.cred_helpers.get(registry).or(file.creds_store.as_ref());
    match helper {
        Some(helper) => ask(helper, registry).await,
        None => stored(&file, registry),
    }
}

fn stored(file: &LoginFile, registry: &str) -> Option<DockerCredentials> {
    let plain = |name: &str| name.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let known = file.auths.iter().find(|(name, _)| *name == registry || plain(name) == plain(registry))?;
    let Login { auth, identitytoken } = known.1;
    let decoded = BASE64.decode(auth.as_ref()?.as_bytes()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(DockerCredentials {
        username: Some(username.to_owned()),
        password: Some(password.to_owned()).filter(|_| identitytoken.is_none()),
        identitytoken: identitytoken.clone(),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    })
}

/// Asks the helper that keeps the caller's logins.
async fn ask(helper: &str, registry: &str) -> Option<DockerCredentials> {
    // Its name comes from a file, and is to stay one.
    if helper.contains('/') {
        return None;
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    stdin.write_all(registry.as_bytes()).await.ok()?;
    drop(stdin);
    let output = tokio::time::timeout(ANSWERS_WITHIN, child.wait_with_output()).await.ok()?.ok()?;
    let HelperAnswer { username, secret } = serde_json::from_slice(&output.stdout).ok()?;
    let is_token = username == "<token>";
    Some(DockerCredentials {
        username: Some(username).filter(|_| !is_token),
        password: Some(secret.clone()).filter(|_| !is_token),
        identitytoken: Some(secret).filter(|_| is_token),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_the_registry_of_the_image() {
        let text =
            r#"{"auths":{"ghcr.io":{"auth":"bWU6cHc="},"https://index.docker.io/v1/":{"auth":"aHViOng="}}}"#;
        let file: LoginFile = serde_json::from_str(text).unwrap();
        let user = |image: &str| stored(&file, registry(image)).and_then(|login| login.username);
        assert_eq!(user("ghcr.io/me/env:1").as_deref(), Some("me"));
        assert_eq!(user("python:3.13").as_deref(), Some("hub"));
        assert_eq!(user("me/env").as_deref(), Some("hub"));
        assert_eq!(user("localhost:5000/env"), None);
    }
}
