//! What gridctl has in an account for all launches: the roles of its machines, and their profiles.
//! Invariant: a role that is there and as it should be is left alone, so that to set up an account twice changes nothing.

use percent_encoding::percent_decode_str;
use serde_json::Value as Json;

use super::{CloudError, Ec2, error};

/// The role, and the profile, of the masters' machines.
pub const MASTER_ROLE: &str = "gridctl-master";
/// The role, and the profile, of the workers' machines.
pub const WORKER_ROLE: &str = "gridctl-worker";
/// The inline policy that says what machines do for a launch.
pub const OWN_POLICY: &str = "gridctl";
/// The inline policy that lets machines at data and results in other buckets.
pub const DATA_POLICY: &str = "gridctl-data";

/// Who may have the roles.
const TRUST: &str = include_str!("../../../../deploy/iam/trust.json");
const MASTER_POLICY: &str = include_str!("../../../../deploy/iam/master.json");
const WORKER_POLICY: &str = include_str!("../../../../deploy/iam/worker.json");

/// How something in the account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// It is not there.
    Missing,
    /// It is there, and not as it should be.
    Differs,
    /// It is as it should be.
    Fine,
}

/// The policy of a role for what its machines do, in this account.
#[must_use]
pub fn own_policy(role: &str, account: &str) -> String {
    let policy = if role == MASTER_ROLE { MASTER_POLICY } else { WORKER_POLICY };
    policy.replace("${account}", account)
}

/// The policy that lets machines read and write beneath addresses `bucket/prefix`; `None` for none.
#[must_use]
pub fn data_policy(read: &[String], write: &[String]) -> Option<String> {
    if read.is_empty() && write.is_empty() {
        return None;
    }
    let beneath = |address: &String| {
        let address = address.trim_end_matches('/');
        [format!("arn:aws:s3:::{address}"), format!("arn:aws:s3:::{address}/*")]
    };
    let buckets: std::collections::BTreeSet<String> = read
        .iter()
        .chain(write)
        .map(|address| format!("arn:aws:s3:::{}", address.split('/').next().unwrap_or(address)))
        .collect();
    let readable: Vec<String> = read.iter().chain(write).flat_map(beneath).collect();
    let mut statements = vec![
        serde_json::json!({
            "Effect": "Allow", "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"], "Resource": buckets,
        }),
        serde_json::json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": readable}),
    ];
    if !write.is_empty() {
        let writable: Vec<String> = write.iter().flat_map(beneath).collect();
        let actions = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"];
        statements.push(serde_json::json!({"Effect": "Allow", "Action": actions, "Resource": writable}));
    }
    Some(serde_json::json!({"Version": "2012-10-17", "Statement": statements}).to_string())
}

impl Ec2 {
    fn iam(&self) -> aws_sdk_iam::Client {
        aws_sdk_iam::Client::new(&self.config)
    }

    /// How a role is that should have this inline policy.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn policy_state(&self, role: &str, name: &str, policy: &str) -> Result<PartState, CloudError> {
        let call = self.iam().get_role_policy().role_name(role).policy_name(name).send().await;
        match call {
            Ok(found) => {
                let text = percent_decode_str(found.policy_document()).decode_utf8_lossy();
                let same = serde_json::from_str::<Json>(&text).ok() == serde_json::from_str(policy).ok();
                Ok(if same { PartState::Fine } else { PartState::Differs })
            }
            Err(error) => not_there(error::of("GetRolePolicy", &error)).map(|()| PartState::Missing),
        }
    }

    /// Whether the role is there.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn has_role(&self, role: &str) -> Result<bool, CloudError> {
        match self.iam().get_role().role_name(role).send().await {
            Ok(_) => Ok(true),
            Err(error) => not_there(error::of("GetRole", &error)).map(|()| false),
        }
    }

    /// Makes a role that machines may have.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not.
    pub async fn make_role(&self, role: &str) -> Result<(), CloudError> {
        let make = self.iam().create_role().role_name(role).assume_role_policy_document(TRUST);
        let made = make.description("machines of gridctl").send().await;
        made.map(drop).map_err(|error| error::of("CreateRole", &error))
    }

    /// Sets an inline policy of a role.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not.
    pub async fn set_policy(&self, role: &str, name: &str, policy: &str) -> Result<(), CloudError> {
        let put = self.iam().put_role_policy().role_name(role).policy_name(name).policy_document(policy);
        put.send().await.map(drop).map_err(|error| error::of("PutRolePolicy", &error))
    }

    /// How the profile is by which machines have the role of the same name.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not say.
    pub async fn profile_state(&self, role: &str) -> Result<PartState, CloudError> {
        match self.iam().get_instance_profile().instance_profile_name(role).send().await {
            Ok(found) => {
                let roles = found.instance_profile().map_or(&[][..], |profile| profile.roles());
                let has = roles.iter().any(|one| one.role_name() == role);
                Ok(if has { PartState::Fine } else { PartState::Differs })
            }
            Err(error) => not_there(error::of("GetInstanceProfile", &error)).map(|()| PartState::Missing),
        }
    }

    /// Makes what `state` says the profile lacks.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not.
    pub async fn make_profile(&self, role: &str, state: PartState) -> Result<(), CloudError> {
        if state == PartState::Missing {
            let make = self.iam().create_instance_profile().instance_profile_name(role).send().await;
            make.map_err(|error| error::of("CreateInstanceProfile", &error))?;
        }
        let add = self.iam().add_role_to_instance_profile().instance_profile_name(role).role_name(role);
        add.send().await.map(drop).map_err(|error| error::of("AddRoleToInstanceProfile", &error))
    }

    /// Makes the role that EC2 needs for spot machines.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not.
    pub async fn make_spot_role(&self) -> Result<(), CloudError> {
        let make =
            self.iam().create_service_linked_role().aws_service_name("spot.amazonaws.com").send().await;
        make.map(drop).map_err(|error| error::of("CreateServiceLinkedRole", &error))
    }

    /// Removes a role and the profile of its name, with all that hangs on them; whether anything was there.
    ///
    /// # Errors
    /// [`CloudError`] if AWS does not.
    pub async fn remove_role(&self, role: &str) -> Result<bool, CloudError> {
        let iam = self.iam();
        let gone = |found: Result<(), CloudError>| match found {
            Ok(()) => Ok(true),
            Err(error) => not_there(error).map(|()| false),
        };
        let taken = iam.remove_role_from_instance_profile().instance_profile_name(role).role_name(role);
        let taken = taken.send().await.map(drop);
        let mut any = gone(taken.map_err(|error| error::of("RemoveRoleFromInstanceProfile", &error)))?;
        let profile = iam.delete_instance_profile().instance_profile_name(role).send().await.map(drop);
        any |= gone(profile.map_err(|error| error::of("DeleteInstanceProfile", &error)))?;
        for policy in [OWN_POLICY, DATA_POLICY] {
            let call = iam.delete_role_policy().role_name(role).policy_name(policy).send().await.map(drop);
            any |= gone(call.map_err(|error| error::of("DeleteRolePolicy", &error)))?;
        }
        let deleted = iam.delete_role().role_name(role).send().await.map(drop);
        any |= gone(deleted.map_err(|error| error::of("DeleteRole", &error)))?;
        Ok(any)
    }
}

/// Nothing, if the error says that there is nothing.
fn not_there(error: CloudError) -> Result<(), CloudError> {
    match error {
        CloudError::Failed { code, .. } if code == "NoSuchEntity" => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_json_and_name_the_account() {
        for role in [MASTER_ROLE, WORKER_ROLE] {
            let text = own_policy(role, "123456789012");
            let policy: Json = serde_json::from_str(&text).unwrap();
            assert!(policy["Statement"].as_array().is_some_and(|list| list.len() > 3), "{role}");
            assert!(text.contains("gridctl-123456789012-*") && !text.contains("${"), "{role}");
            // AWS takes 10,240 characters without spaces.
            assert!(text.chars().filter(|c| !c.is_whitespace()).count() < 8_000, "{role}");
        }
        // Whoever reads there becomes a worker or an operator.
        let worker = own_policy(WORKER_ROLE, "1");
        for secret in ["operators", "control/*\"", "s3:*", "ec2:", "records"] {
            assert!(!worker.contains(secret), "{secret}");
        }
    }

    #[test]
    fn data_is_read_and_results_are_written_where_that_was_said() {
        assert_eq!(data_policy(&[], &[]), None);
        let text = data_policy(&["data/wine/".to_owned()], &["out".to_owned()]).unwrap();
        let policy: Json = serde_json::from_str(&text).unwrap();
        let list = policy["Statement"].as_array().unwrap();
        assert_eq!(list[0]["Resource"], serde_json::json!(["arn:aws:s3:::data", "arn:aws:s3:::out"]));
        assert_eq!(list[1]["Resource"][0], "arn:aws:s3:::data/wine");
        assert_eq!(list[2]["Resource"], serde_json::json!(["arn:aws:s3:::out", "arn:aws:s3:::out/*"]));
    }
}
