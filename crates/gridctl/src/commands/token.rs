//! `gridctl token`: who else may do what.
//! Invariant: a token's secret is on stdout once, where it is made, and nowhere else.

use std::io::{IsTerminal as _, Read as _};

use gridctl_core::access::Role;
use gridctl_core::view::{TokenMade, TokenRequest, TokenView};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::address;
use crate::cli::{TokenCommand, TokenCreateArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{self, Format, number};
use crate::settings::Settings;
use crate::source::{DataSource, MasterSource};

/// Longer texts are no tokens.
const LONGEST: u64 = 1 << 10;

/// Runs the command.
pub(crate) fn run(command: &TokenCommand, settings: &Settings) -> Outcome {
    let ask = || DataSource::master(settings, &settings.cwd);
    match command {
        TokenCommand::Create(args) => create(args, &mut ask()?)?,
        TokenCommand::List(args) => print(&ask()?.tokens()?, args.output)?,
        TokenCommand::Revoke(args) => {
            if ask()?.revoke_token(&args.id)?.touched == 0 {
                return Err(Failure::error("token", format!("no token is called `{}`", shown(&args.id)))
                    .help("`gridctl token list` shows those that are good"));
            }
            output::say("the token opens nothing any more");
        }
        TokenCommand::Save => save(settings)?,
    }
    Ok(Exit::Ok)
}

fn shown(text: &str) -> String {
    output::sanitise::short(text, 40)
}

fn create(args: &TokenCreateArgs, master: &mut MasterSource) -> Result<(), Failure> {
    let life_ms = args.life.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
    let role = Role::from(args.role);
    let TokenMade { token, view, master: url } = master.make_token(&TokenRequest { role, life_ms })?;
    let end = number::unix_ms(view.expires_unix_ms);
    match (role, url) {
        (_, None) if args.url => {
            master.revoke_token(&view.id)?;
            return Err(Failure::error("token", "this master has no address that others could use")
                .help("start it with --listen ADDRESS:PORT"));
        }
        (Role::Worker, Some(url)) => {
            output::text(&format!("{url}&token={token}\n"))?;
            output::say(format_args!("joins one worker, until {end}: gridctl worker --join '...'"));
        }
        (_, url) => tell(&token, &view, url.as_deref(), args.url)?,
    }
    Ok(())
}

/// Prints a person's token, alone or in the master's address, and says how it is used.
fn tell(token: &str, view: &TokenView, master: Option<&str>, in_address: bool) -> Result<(), Failure> {
    let end = number::unix_ms(view.expires_unix_ms);
    let life = format!("good until {end}; `gridctl token revoke {}` takes it back", view.id);
    match master {
        Some(master) if in_address => {
            output::text(&format!("{master}&token={token}\n"))?;
            output::say(format_args!("{life}. A secret, for the variable GRIDCTL_MASTER alone"));
        }
        Some(master) => {
            output::text(&format!("{token}\n"))?;
            output::say(format_args!(
                "{life}. Where it is used:\n\
                 export GRIDCTL_MASTER='{master}'\n\
                 gridctl token save     # asks for it"
            ));
        }
        None => {
            output::text(&format!("{token}\n"))?;
            output::say(life);
        }
    }
    Ok(())
}

fn print(tokens: &[TokenView], format: Format) -> Result<(), Failure> {
    const COLUMNS: [&str; 3] = ["id", "role", "expires"];
    let cells = |token: &TokenView| {
        let role = serde_json::to_value(token.role).unwrap_or_default();
        let end = number::unix_ms(token.expires_unix_ms);
        vec![token.id.clone(), role.as_str().unwrap_or_default().to_owned(), end]
    };
    let empty = "there is no token; `gridctl token create --role read` makes one";
    output::list(tokens, format, (COLUMNS, cells), empty)
}

/// Keeps a token where commands find it that name the same master.
fn save(settings: &Settings) -> Result<(), Failure> {
    let master = settings.master.as_ref().ok_or_else(|| {
        Failure::usage("token", "no master is named, and a token is one master's")
            .help("set GRIDCTL_MASTER to the address that the master says when it starts")
    })?;
    let path = address::kept_token(master)?;
    let token = asked()?;
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Failure::usage("token", "that is no token: it has letters and digits alone"));
    }
    address::keep_token(&path, token)?;
    output::say(format_args!("kept in {}", path.display()));
    Ok(())
}

/// What stdin holds; a person who types it does not see it.
fn asked() -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::error("token", format!("cannot read the token: {error}"));
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut text = String::new();
        stdin.lock().take(LONGEST).read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    output::say("the token, which is not shown:");
    let before = tcgetattr(&stdin).map_err(|error| failed(error.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &silent).map_err(|error| failed(error.into()))?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    // As it was, whatever was typed.
    let _ = tcsetattr(&stdin, OptionalActions::Now, &before);
    read.map_err(failed)?;
    Ok(line)
}
