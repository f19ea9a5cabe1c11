/* A module whose commands no table knows, for the test of learned commands. It declares the few functions of the module
 * interface that it uses itself, so that no header has to be installed. */

#include <stddef.h>

typedef struct Context Context;
typedef struct Text Text;
typedef struct Reply Reply;
typedef int (*Command)(Context *, Text **, int);

static int (*create_command)(Context *, const char *, Command, const char *, int, int, int);
static void (*set_attributes)(Context *, const char *, int, int);
static Reply *(*call)(Context *, const char *, const char *, ...);
static int (*pass_on)(Context *, Reply *);
static int (*reply_number)(Context *, long long);
static int (*reply_error)(Context *, const char *);

/* STRANGE.PUT key value */
static int put(Context *context, Text **args, int count)
{
	Reply *reply;

	if (count != 3)
		return reply_error(context, "ERR a key and a value, please");
	reply = call(context, "SET", "ss", args[1], args[2]);
	return reply ? pass_on(context, reply) : reply_error(context, "ERR SET failed");
}

/* STRANGE.BOTH key key: how many there are. */
static int both(Context *context, Text **args, int count)
{
	long long found = 0;
	int at;

	for (at = 1; at < count; at++)
		found += call(context, "GET", "s", args[at]) != NULL;
	return reply_number(context, found);
}

/* STRANGE.NUMBER: the same everywhere. */
static int number(Context *context, Text **args, int count)
{
	(void)args;
	(void)count;
	return reply_number(context, 4711);
}

int RedisModule_OnLoad(Context *context, Text **args, int count)
{
	int (*get)(const char *, void *) = *(int (**)(const char *, void *))context;

	(void)args;
	(void)count;
	if (get("RedisModule_CreateCommand", &create_command) || get("RedisModule_SetModuleAttribs", &set_attributes) ||
	    get("RedisModule_Call", &call) || get("RedisModule_ReplyWithCallReply", &pass_on) ||
	    get("RedisModule_ReplyWithLongLong", &reply_number) || get("RedisModule_ReplyWithError", &reply_error))
		return 1;
	set_attributes(context, "strange", 1, 1);
	return create_command(context, "strange.put", put, "write deny-oom", 1, 1, 1) ||
	       create_command(context, "strange.both", both, "readonly", 1, 2, 1) ||
	       create_command(context, "strange.number", number, "readonly", 0, 0, 0) ||
	       create_command(context, "strange.rule", number, "admin", 0, 0, 0);
}
