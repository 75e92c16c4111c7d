// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /proc/net/vtoe_policy: the policy of a network namespace.
 *
 * What is read can be written back.  One write() is one policy: it replaces
 * the old one as a whole, or is refused and nothing changes; the reason is then
 * the comment that a reader finds at the end.  connect() and requests read the
 * policy under RCU.  A new namespace has none and offloads what can be.
 */
#include <linux/inet.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "vtoe_sock.h"

/* The rules of a namespace. */
struct vtoe_policy {
	struct rcu_head rcu;
	struct vtoe_policy_rules rules;		/* last */
};

static DEFINE_MUTEX(vtoe_policy_mutex);		/* replaces policies */

u8 vtoe_policy_address(const char *word, u8 addr[16])
{
	const char *end;

	memset(addr, 0, 16);
	if (in4_pton(word, -1, addr, -1, &end) && !*end)
		return 4;
	return in6_pton(word, -1, addr, -1, &end) && !*end ? 6 : 0;
}

/* What the policy says about one end of a stream. */
enum vtoe_policy_verdict vtoe_policy_ask(const struct net *net, u32 dir,
					 const struct vtoe_flow *f)
{
	bool remote = dir == VTOE_POLICY_CONNECT;
	enum vtoe_policy_verdict verdict = VTOE_POLICY_DEFAULT;
	const struct vtoe_policy *p;

	rcu_read_lock();
	p = rcu_dereference(vtoe_net(net)->policy);
	if (p)
		verdict = vtoe_policy_verdict(&p->rules, dir, f->family,
					      remote ? f->raddr : f->laddr,
					      le16_to_cpu(remote ? f->rport :
							  f->lport));
	rcu_read_unlock();
	return verdict;
}

/*
 * May a socket that listens on addr, NULL: any, have offloaded connections?
 * Of an address that is not known yet the request will be asked.
 */
bool vtoe_policy_listens(const struct net *net, u8 family, const u8 *addr,
			 u16 port)
{
	const struct vtoe_policy *p;
	bool may = true;

	rcu_read_lock();
	p = rcu_dereference(vtoe_net(net)->policy);
	if (p)
		may = addr ? vtoe_policy_verdict(&p->rules, VTOE_POLICY_LISTEN,
						 family, addr, port) !=
			     VTOE_POLICY_LEAVE :
		      vtoe_policy_may_listen(&p->rules, family, port);
	rcu_read_unlock();
	return may;
}

/* --- reading -------------------------------------------------------------- */

static void vtoe_policy_show_rule(struct seq_file *seq,
				  const struct vtoe_policy_rule *r)
{
	seq_puts(seq, r->offload ? "offload" : "leave");
	if (r->dirs != VTOE_POLICY_BOTH)
		seq_puts(seq, r->dirs == VTOE_POLICY_CONNECT ? " connect" :
			 " listen");
	if (!r->family)
		seq_puts(seq, " any");
	else if (r->family == 4)
		seq_printf(seq, " %pI4/%u", r->addr, r->prefix);
	else
		seq_printf(seq, " %pI6c/%u", r->addr, r->prefix);
	if (r->port_min) {
		seq_printf(seq, " port %u", r->port_min);
		if (r->port_max != r->port_min)
			seq_printf(seq, "-%u", r->port_max);
	}
	seq_putc(seq, '\n');
}

static int vtoe_policy_show(struct seq_file *seq, void *v)
{
	struct vtoe_net *vn = vtoe_net(seq->private);
	const struct vtoe_policy *p;
	bool offload = true;
	u32 i;

	mutex_lock(&vtoe_policy_mutex);
	p = rcu_dereference_protected(vn->policy,
				      lockdep_is_held(&vtoe_policy_mutex));
	if (p) {
		for (i = 0; i < p->rules.n; i++)
			vtoe_policy_show_rule(seq, &p->rules.rule[i]);
		offload = p->rules.offload;
	}
	seq_printf(seq, "default %s\n", offload ? "offload" : "leave");
	if (vn->policy_error[0])
		seq_printf(seq, "# the last policy was refused: %s\n",
			   vn->policy_error);
	mutex_unlock(&vtoe_policy_mutex);
	return 0;
}

/* --- writing -------------------------------------------------------------- */

/* Reads a text.  Returns the policy or an error; vn->policy_error says why. */
static struct vtoe_policy *vtoe_policy_read(struct vtoe_net *vn,
					    const char *text, size_t len)
{
	u32 room = min(vtoe_policy_lines(text, len), VTOE_POLICY_RULES_MAX);
	struct vtoe_policy *p;

	p = kvzalloc(struct_size(p, rules.rule, room), GFP_KERNEL_ACCOUNT);
	if (!p)
		return ERR_PTR(-ENOMEM);
	if (vtoe_policy_parse(text, len, &p->rules, room, vn->policy_error)) {
		kvfree(p);
		return ERR_PTR(-EINVAL);
	}
	return p;
}

static ssize_t vtoe_policy_write(struct file *file, const char __user *buf,
				 size_t len, loff_t *pos)
{
	struct net *net = pde_data(file_inode(file));
	struct vtoe_net *vn = vtoe_net(net);
	struct vtoe_policy *p, *old;
	char *text;

	if (len > VTOE_POLICY_TEXT_MAX) {
		mutex_lock(&vtoe_policy_mutex);
		scnprintf(vn->policy_error, sizeof(vn->policy_error),
			  "it has %zu bytes, more than %u", len,
			  VTOE_POLICY_TEXT_MAX);
		mutex_unlock(&vtoe_policy_mutex);
		return -E2BIG;
	}
	text = vmemdup_user(buf, len);
	if (IS_ERR(text))
		return PTR_ERR(text);

	mutex_lock(&vtoe_policy_mutex);
	p = vtoe_policy_read(vn, text, len);
	if (!IS_ERR(p)) {
		vn->policy_error[0] = '\0';
		old = rcu_replace_pointer(vn->policy, p,
					  lockdep_is_held(&vtoe_policy_mutex));
		if (old)
			kvfree_rcu(old, rcu);
		/* Who listens already does as the new one says. */
		vtoe_listen_policy(net);
	}
	mutex_unlock(&vtoe_policy_mutex);
	kvfree(text);
	return IS_ERR(p) ? PTR_ERR(p) : len;
}

static int vtoe_policy_open(struct inode *inode, struct file *file)
{
	struct net *net = pde_data(inode);

	/* Who may set up the namespace's network, whoever owns the file. */
	if (file->f_mode & FMODE_WRITE &&
	    !ns_capable(net->user_ns, CAP_NET_ADMIN))
		return -EPERM;
	return single_open(file, vtoe_policy_show, net);
}

static const struct proc_ops vtoe_policy_ops = {
	.proc_open	= vtoe_policy_open,
	.proc_read	= seq_read,
	.proc_write	= vtoe_policy_write,
	.proc_lseek	= seq_lseek,
	.proc_release	= single_release,
};

/* --- namespaces ----------------------------------------------------------- */

int vtoe_policy_start(struct vtoe_net *vn)
{
	return proc_create_data("vtoe_policy", 0644, vn->net->proc_net,
				&vtoe_policy_ops, vn->net) ? 0 : -ENOMEM;
}

void vtoe_policy_stop(struct vtoe_net *vn)
{
	struct vtoe_policy *p;

	remove_proc_entry("vtoe_policy", vn->net->proc_net);
	/* A request may still be on its way from a NIC that has just left. */
	p = rcu_replace_pointer(vn->policy, NULL, true);
	if (p)
		kvfree_rcu(p, rcu);
}
