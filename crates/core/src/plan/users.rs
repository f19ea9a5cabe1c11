//! Users of the nodes: which node does not know what the others know.
//!
//! Owns the comparison of what nodes say in ACL LIST. Every node has to know the same users, since any of them can be asked
//! by a client of each. The nodes that own slots vote; a node that differs from what most of them say, now and a look
//! earlier, is told. The user `default` is nobody's business here: it is evenkeel's own.

use std::collections::BTreeMap;

use super::NodeName;

/// The users that one node knows: the rules of each, by name, without `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<String, Rules>);

/// What one user may do: equal when the same words say it. Redis 7.0 writes single commands in an order of its own, another
/// one in every process.
#[derive(Clone, Debug, Eq)]
struct Rules {
    written: Vec<String>,
    sorted: Vec<String>,
}

impl Rules {
    fn of(written: Vec<String>) -> Rules {
        let plain = |rule: &String| {
            let mut words: Vec<&str> = rule.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
            words.sort_unstable();
            words.join(" ")
        };
        let mut sorted: Vec<String> = written.iter().map(plain).collect();
        sorted.sort_unstable();
        Rules { written, sorted }
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Rules) -> bool {
        self.sorted == other.sorted
    }
}

/// What a node has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A user that is missing or different.
    Set {
        /// Its name.
        user: String,
        /// Its rules, as ACL SETUSER takes them.
        rules: Vec<String>,
    },
    /// A user that the others do not know.
    Remove {
        /// Its name.
        user: String,
    },
}

/// Whether a node's word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It owns slots.
    Votes,
    /// It may be new, and know nobody yet.
    Listens,
}

impl Users {
    /// Reads the lines of ACL LIST: `user alice on #… ~a* resetchannels -@all +get (~b* +set)`.
    pub fn parse(lines: &[String]) -> Users {
        let user = |line: &String| {
            let mut words = rules(line.strip_prefix("user ")?).into_iter();
            let name = words.next()?;
            // the default, which only users that were ever reset have written out
            (name != "default")
                .then(|| (name, Rules::of(words.filter(|word| word != "sanitize-payload").collect())))
        };
        Users(lines.iter().filter_map(user).collect())
    }
}

/// Words, of which one in parentheses (a selector) is one.
fn rules(text: &str) -> Vec<String> {
    let mut rules: Vec<String> = Vec::new();
    let mut inside = false;
    for word in text.split_ascii_whitespace() {
        match rules.last_mut() {
            Some(selector) if inside => {
                selector.push(' ');
                selector.push_str(word);
            }
            Some(_) | None => {
                inside = word.starts_with('(');
                rules.push(word.to_owned());
            }
        }
        inside = inside && !word.ends_with(')');
    }
    rules
}

/// Who has to be told what. `before` is what the same nodes said a look earlier: what is just being changed differs only
/// for a moment.
pub fn align(
    before: &BTreeMap<NodeName, Users>,
    now: &BTreeMap<NodeName, (Voice, Users)>,
) -> Vec<(NodeName, Vec<Change>)> {
    let voters: Vec<&Users> =
        now.values().filter(|(voice, _)| *voice == Voice::Votes).map(|(_, users)| users).collect();
    let most = |users: &&&Users| voters.iter().filter(|other| *other == *users).count() * 2 > voters.len();
    let Some(right) = voters.iter().find(most).copied() else { return Vec::new() };
    let settled = |node: &NodeName, users: &Users| before.get(node) == Some(users);
    let steady = now
        .iter()
        .filter(|(node, (voice, users))| *voice == Voice::Votes && users == right && settled(node, users))
        .count();
    if steady * 2 <= voters.len() {
        return Vec::new();
    }
    now.iter()
        .filter(|(node, (_, users))| users != right && settled(node, users))
        .map(|(node, (_, users))| (node.clone(), changes(users, right)))
        .collect()
}

fn changes(users: &Users, right: &Users) -> Vec<Change> {
    let differs = |(user, rules): &(&String, &Rules)| users.0.get(*user) != Some(*rules);
    let set = right.0.iter().filter(differs);
    let set = set.map(|(user, rules)| Change::Set { user: user.clone(), rules: rules.written.clone() });
    let extra = users.0.keys().filter(|user| !right.0.contains_key(*user));
    set.chain(extra.map(|user| Change::Remove { user: user.clone() })).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Change, NodeName, Users, Voice, align};

    const ALICE: &str = "user alice on #ab ~a* resetchannels -@all +get (~c* +set)";
    const ALICE_TOO: &str = "user alice on sanitize-payload #ab ~a* resetchannels +get -@all (+set ~c*)";

    fn users(lines: &[&str]) -> Users {
        Users::parse(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    fn nodes(lists: &[(&str, Voice, &[&str])]) -> BTreeMap<NodeName, (Voice, Users)> {
        lists
            .iter()
            .map(|(node, voice, lines)| (NodeName((*node).to_owned()), (*voice, users(lines))))
            .collect()
    }

    fn look(now: &BTreeMap<NodeName, (Voice, Users)>) -> BTreeMap<NodeName, Users> {
        now.iter().map(|(node, (_, users))| (node.clone(), users.clone())).collect()
    }

    #[test]
    fn a_new_node_is_told_who_the_others_know() {
        let now = nodes(&[
            ("a", Voice::Votes, &[ALICE]),
            ("b", Voice::Votes, &["user default on", ALICE_TOO]),
            ("c", Voice::Votes, &[ALICE]),
            ("d", Voice::Listens, &["user eve on nopass"]),
            ("e", Voice::Listens, &[ALICE]),
        ]);
        assert_eq!(align(&BTreeMap::new(), &now), [], "nothing is done at first sight");
        let rules = ["on", "#ab", "~a*", "resetchannels", "-@all", "+get", "(~c* +set)"];
        let alice = Change::Set {
            user: "alice".to_owned(),
            rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
        };
        let told = (NodeName("d".to_owned()), vec![alice, Change::Remove { user: "eve".to_owned() }]);
        assert_eq!(align(&look(&now), &now), [told]);
    }

    #[test]
    fn what_is_just_being_changed_is_left_alone() {
        let old: [(&str, Voice, &[&str]); 3] =
            [("a", Voice::Votes, &[]), ("b", Voice::Votes, &[]), ("c", Voice::Votes, &[])];
        let half: [(&str, Voice, &[&str]); 3] =
            [("a", Voice::Votes, &[ALICE]), ("b", Voice::Votes, &[]), ("c", Voice::Votes, &[])];
        let most: [(&str, Voice, &[&str]); 3] =
            [("a", Voice::Votes, &[ALICE]), ("b", Voice::Votes, &[ALICE]), ("c", Voice::Votes, &[])];
        assert_eq!(align(&look(&nodes(&old)), &nodes(&half)), []);
        assert_eq!(align(&look(&nodes(&half)), &nodes(&most)), []);
        assert_eq!(align(&look(&nodes(&most)), &nodes(&most)).len(), 1);
    }

    #[test]
    fn without_a_majority_nobody_is_told_anything() {
        let now =
            nodes(&[("a", Voice::Votes, &[ALICE]), ("b", Voice::Votes, &[]), ("c", Voice::Listens, &[])]);
        assert_eq!(align(&look(&now), &now), []);
    }
}
