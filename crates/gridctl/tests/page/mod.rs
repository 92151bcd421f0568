//! What stands in the fenced blocks of a document: files, and commands with the output that is shown of them.
//! Invariant: every line of a block belongs to something; a block without an end is a mistake.

/// A fenced block: its kind and its lines.
pub(crate) struct Block {
    pub(crate) kind: String,
    pub(crate) lines: Vec<String>,
}

/// The fenced blocks of a document.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(kind) => {
                open = true;
                blocks.push(Block { kind: kind.trim().to_owned(), lines: Vec::new() });
            }
            None if open => blocks.last_mut().expect("one is open").lines.push(line.to_owned()),
            None => {}
        }
    }
    assert!(!open, "a fenced block has no end");
    blocks
}

impl Block {
    /// The file that this block is, if its first line is a comment that holds nothing but a name.
    pub(crate) fn file(&self) -> Option<&str> {
        let name = self.lines.first()?.strip_prefix("# ")?;
        (name.contains('.') && !name.contains(char::is_whitespace)).then_some(name)
    }

    /// Commands, each with the output that is shown of it.
    pub(crate) fn commands(&self) -> Vec<(&str, Vec<&str>)> {
        let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in &self.lines {
            match (self.kind.as_str(), line.strip_prefix("$ ")) {
                ("console", None) => commands.last_mut().expect("a command stands first").1.push(line),
                ("console", Some(command)) => commands.push((command, Vec::new())),
                _ if line.trim().is_empty() || line.starts_with('#') => {}
                _ => commands.push((line, Vec::new())),
            }
        }
        commands
    }
}
