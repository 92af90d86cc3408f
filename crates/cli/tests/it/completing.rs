//! Completions of shells, as a shell uses them.

use std::process::Command;

use crate::running::{instep, stdout};

fn script(shell: &str) -> String {
    let output = instep(&["completions", shell]);
    assert_eq!(output.status.code(), Some(0), "{shell}");
    stdout(&output)
}

/// Completions that bash offers behind words, of which the last is unfinished.
fn offered(words: &[&str]) -> String {
    let list = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let ask = format!(
        "{}\nCOMP_WORDS=({list}); COMP_CWORD={}; _instep instep '{last}' '{before}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        script("bash"),
        words.len() - 1,
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ask.bash");
    std::fs::write(&file, ask).unwrap();
    let output = Command::new("bash").args(["--norc".as_ref(), file.as_os_str()]).output().unwrap();
    assert!(output.status.success(), "{}", crate::running::stderr(&output));
    stdout(&output)
}

#[test]
fn bash_completes_commands_options_and_shells() {
    assert_eq!(offered(&["instep", "pub"]), "publish\n");
    assert_eq!(offered(&["instep", "mail", "stat"]), "status\n");
    assert_eq!(offered(&["instep", "serve", "--insec"]), "--insecure-public\n");
    assert_eq!(offered(&["instep", "completions", "zs"]), "zsh\n");
}

#[test]
fn every_shell_is_given_a_script_of_its_own_and_others_are_refused() {
    assert!(script("zsh").starts_with("#compdef instep\n"));
    assert!(script("fish").contains("complete -c instep"));
    let other = instep(&["completions", "csh"]);
    assert_eq!(other.status.code(), Some(2));
}
