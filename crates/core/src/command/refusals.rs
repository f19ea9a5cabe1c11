//! Why commands are refused, and what to do instead: one line each, behind the error code.

pub(super) const SHUTDOWN: &str = "SHUTDOWN is not available through the gateway: stop the whole service with `evenkeel down`, or one node with \
     EVENKEEL NODE <node> SHUTDOWN (EVENKEEL NODES lists them)";
pub(super) const DEBUG: &str = "this DEBUG subcommand is not available through the gateway: send it to one node with EVENKEEL NODE \
                     <node> DEBUG … (EVENKEEL NODES lists them)";
pub(super) const TOPOLOGY: &str = "the topology is not changed through the gateway: evenkeel forms, heals and scales the cluster \
                        itself (see `evenkeel status`); to send this to one node use EVENKEEL NODE <node> <command …> \
                        (EVENKEEL NODES lists them)";
pub(super) const FAILOVER: &str = "a failover is not made through the gateway: `evenkeel failover <node|shard>` makes one that no client notices; \
                        to send this to one node use EVENKEEL NODE <node> <command …> (EVENKEEL NODES lists them)";
pub(super) const SLOTS: &str = "slots are not moved through the gateway: `redis-cli --cluster reshard <node>` moves them at the nodes, and the \
                     gateway follows without an error; to send this to one node use EVENKEEL NODE <node> <command …> \
                     (EVENKEEL NODES lists them)";
pub(super) const MIGRATE: &str = "MIGRATE is not available through the gateway: copy keys with DUMP and RESTORE, and move slots with \
                       `redis-cli --cluster reshard <node>` (`evenkeel status` lists the nodes)";
pub(super) const RESTORE: &str = "RESTORE-ASKING is for nodes that move a slot: use RESTORE";
pub(super) const ASKING: &str =
    "ASKING is not needed here: the gateway follows redirections itself, send the command alone";
pub(super) const REPLICATION: &str = "the gateway is not a primary to replicate from: connect to a node itself (`evenkeel \
                           status` lists them)";
pub(super) const MODULES: &str = "modules are not loaded through the gateway: name them in the configuration of the nodes, so that \
                       every node loads the same, or use EVENKEEL NODE <node> MODULE … on each of them";
pub(super) const SCRIPT_DEBUG: &str = "SCRIPT DEBUG is not available through the gateway: debug the script on a server of your \
                            own with `redis-cli --ldb`";
pub(super) const IMPORT: &str = "CLIENT IMPORT-SOURCE is not available through the gateway, whose clients share connections: import into a node \
                      itself (`evenkeel status` lists them)";
pub(super) const SWAPDB: &str = "SWAPDB is not allowed in cluster mode";
