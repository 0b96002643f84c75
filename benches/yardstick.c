/*
 * The kernel's own price of an attachment: what `bridge` or `ptp` with host-local asks of the kernel, in the
 * fewest messages, process start included. It reads no configuration, keeps no lease, sets no MAC and no alias
 * and prints nothing, so nothing that does the whole job can be faster. benches/side_by_side times it beside
 * the plugins and compares its system calls with benches/yardstick.strace, so that nobody can slow it down.
 *
 * There is no C library underneath. A statically linked glibc asks the processor for its features some sixty
 * times before main(), and where a hypervisor traps CPUID that takes as long as making the pair of links.
 *
 *   yardstick nothing                                             start and end, as a plugin's VERSION must
 *   yardstick loopback NETNS up|down
 *   yardstick bridge   NETNS HOST-END IFNAME ADDRESS/PREFIX GATEWAY BRIDGE [announce]
 *   yardstick veth     NETNS HOST-END IFNAME ADDRESS/PREFIX GATEWAY
 *   yardstick delete   HOST-END
 *
 * With `announce` everybody on the bridge hears whose the address is, as after a plugin's ADD. That frame floods
 * every port, so the price grows with the neighbours. Without it nothing is announced.
 *
 * The exit status is 0, the kernel's error number, or 255 where the command line makes no sense.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/veth.h>
#include <sys/socket.h>

#define USAGE 255

/* ---- the machine: one system call, and the way in ---- */

#if defined(__x86_64__)
static long kernel(long call, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long answer;

	__asm__ volatile("syscall" : "=a"(answer)
			 : "a"(call), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return answer;
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin");
#elif defined(__aarch64__)
static long kernel(long call, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = call, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
__asm__(".globl _start\n_start: mov x0, sp\n\tbl begin");
#else
#error "say here how a system call is made on this machine"
#endif

static void finish(int status)
{
	for (;;)
		kernel(__NR_exit_group, status, 0, 0, 0, 0, 0);
}

/* Passes an answer on, or ends with the kernel's error number. */
static long must(long answer)
{
	if (answer < 0)
		finish((int)-answer);
	return answer;
}

static int open_namespace(const char *path)
{
	return must(kernel(__NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0));
}

static int open_socket(void)
{
	return must(kernel(__NR_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE, 0, 0, 0));
}

static void enter(int netns)
{
	must(kernel(__NR_setns, netns, CLONE_NEWNET, 0, 0, 0, 0));
}

/* ---- one datagram, which may carry several messages ---- */

static struct {
	_Alignas(4) char bytes[1024];
	unsigned len;
	struct nlmsghdr *open; /* the message that grows */
} out;

/* Room for len bytes at the end of the message that grows, all zero: ask() clears what it has sent. */
static void *room(unsigned len)
{
	void *at = out.bytes + out.len;

	out.len += NLMSG_ALIGN(len);
	if (out.len > sizeof out.bytes)
		finish(USAGE);
	out.open->nlmsg_len = out.bytes + out.len - (char *)out.open;
	return at;
}

static void *message(int type, int flags, unsigned body)
{
	out.open = (struct nlmsghdr *)(out.bytes + out.len);
	struct nlmsghdr *head = room(NLMSG_HDRLEN);

	head->nlmsg_type = type;
	head->nlmsg_flags = NLM_F_REQUEST | flags;
	return room(body);
}

static struct rtattr *attribute(int type, const void *value, unsigned len)
{
	struct rtattr *head = room(RTA_LENGTH(len));
	char *to = RTA_DATA(head);

	head->rta_type = type;
	head->rta_len = RTA_LENGTH(len);
	for (unsigned i = 0; i < len; i++)
		to[i] = ((const char *)value)[i];
	return head;
}

static void number(int type, __u32 value)
{
	attribute(type, &value, sizeof value);
}

static void text(int type, const char *value)
{
	unsigned len = 1;

	while (value[len - 1])
		len++;
	attribute(type, value, len);
}

static void close_nest(struct rtattr *nest)
{
	nest->rta_len = out.bytes + out.len - (char *)nest;
}

/*
 * Sends what was built and reads one answer. Only the last message asks to be acknowledged: the kernel reports a
 * failure of the others unasked, so the first datagram that comes back tells all.
 */
static void *ask(int socket)
{
	static _Alignas(4) char answer[512]; /* a link's answer is longer; its head is enough */
	struct nlmsghdr *head = (struct nlmsghdr *)answer;

	must(kernel(__NR_sendto, socket, (long)out.bytes, out.len, 0, 0, 0));
	must(kernel(__NR_recvfrom, socket, (long)answer, sizeof answer, 0, 0, 0));
	for (unsigned i = 0; i < out.len; i++)
		out.bytes[i] = 0;
	out.len = 0;
	if (head->nlmsg_type == NLMSG_ERROR)
		must(((struct nlmsgerr *)NLMSG_DATA(head))->error);
	return NLMSG_DATA(head);
}

/* ---- the requests ---- */

static struct ifinfomsg *look_at(int socket, const char *name)
{
	message(RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	text(IFLA_IFNAME, name);
	return ask(socket);
}

static int look_up(int socket, const char *name)
{
	return look_at(socket, name)->ifi_index;
}

/* The pair, with the container end born in its namespace and the host end up and, where asked, a bridge's port. */
static void create_pair(int socket, const char *host_end, const char *ifname, int netns, int master)
{
	struct ifinfomsg *link = message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, sizeof *link);

	link->ifi_flags = link->ifi_change = IFF_UP;
	text(IFLA_IFNAME, host_end);
	number(IFLA_NUM_TX_QUEUES, 1);
	number(IFLA_NUM_RX_QUEUES, 1);
	if (master)
		number(IFLA_MASTER, master);

	struct rtattr *kind = attribute(IFLA_LINKINFO, "", 0);
	text(IFLA_INFO_KIND, "veth");
	struct rtattr *values = attribute(IFLA_INFO_DATA, "", 0);
	struct rtattr *peer = attribute(VETH_INFO_PEER, "", 0);
	room(sizeof(struct ifinfomsg));
	text(IFLA_IFNAME, ifname);
	number(IFLA_NUM_TX_QUEUES, 1);
	number(IFLA_NUM_RX_QUEUES, 1);
	number(IFLA_NET_NS_FD, netns);
	close_nest(peer);
	close_nest(values);
	close_nest(kind);
	ask(socket);
}

static void switch_link(int index, unsigned up, int flags)
{
	struct ifinfomsg *link = message(RTM_NEWLINK, flags, sizeof *link);

	link->ifi_index = index;
	link->ifi_flags = up;
	link->ifi_change = IFF_UP;
}

static void address(int index, __u32 ip, int prefix, int ifa_flags)
{
	struct ifaddrmsg *head = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *head);

	head->ifa_family = AF_INET;
	head->ifa_prefixlen = prefix;
	head->ifa_index = index;
	number(IFA_LOCAL, ip);
	number(IFA_ADDRESS, ip);
	if (ifa_flags)
		number(IFA_FLAGS, ifa_flags);
}

static void route(int index, __u32 to, int prefix, __u32 gateway, int flags)
{
	struct rtmsg *head = message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | flags, sizeof *head);

	head->rtm_family = AF_INET;
	head->rtm_dst_len = prefix;
	head->rtm_table = RT_TABLE_MAIN;
	head->rtm_protocol = RTPROT_BOOT;
	head->rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	head->rtm_type = RTN_UNICAST;
	if (prefix)
		number(RTA_DST, to);
	if (gateway)
		number(RTA_GATEWAY, gateway);
	number(RTA_OIF, index);
}

/* The link sends a gratuitous ARP when it is given a MAC (net/ipv4/devinet.c). */
static void set_arp_notify(int index)
{
	struct ifinfomsg *link = message(RTM_NEWLINK, 0, sizeof *link);

	link->ifi_index = index;
	struct rtattr *families = attribute(IFLA_AF_SPEC, "", 0);
	struct rtattr *family = attribute(AF_INET, "", 0);
	struct rtattr *settings = attribute(IFLA_INET_CONF | NLA_F_NESTED, "", 0);
	number(IPV4_DEVCONF_ARP_NOTIFY, 1);
	close_nest(settings);
	close_nest(family);
	close_nest(families);
}

/* A MAC that tells the address is nobody else's on the bridge. */
static void set_mac(int index, __u32 ip)
{
	__u8 mac[6] = { 2 };
	struct ifinfomsg *link = message(RTM_NEWLINK, NLM_F_ACK, sizeof *link);

	link->ifi_index = index;
	__builtin_memcpy(mac + 2, &ip, sizeof ip);
	attribute(IFLA_ADDRESS, mac, sizeof mac);
}

/* ---- the attachments ---- */

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* "10.22.0.5/16" or "10.22.0.1"; the address in network order. */
static __u32 parse(const char *text, int *prefix)
{
	__u8 part[5] = { 0 };
	int at = 0;
	__u32 ip;

	for (; *text && at < 5; text++) {
		if (*text >= '0' && *text <= '9')
			part[at] = part[at] * 10 + (*text - '0');
		else
			at++;
	}
	if (prefix)
		*prefix = part[4];
	__builtin_memcpy(&ip, part, sizeof ip);
	return ip;
}

static void add_bridge(char **arg, int announced)
{
	int netns = open_namespace(arg[0]), host = open_socket();

	create_pair(host, arg[1], arg[2], netns, look_up(host, arg[5]));

	enter(netns);
	int pod = open_socket(), index = look_up(pod, arg[2]), prefix;
	__u32 ip = parse(arg[3], &prefix);

	switch_link(index, IFF_UP, 0);
	if (announced)
		set_arp_notify(index);
	address(index, ip, prefix, 0);
	route(index, 0, 0, parse(arg[4], 0), NLM_F_ACK);
	ask(pod);
	if (!announced)
		return;

	/* A port forwards once it is running, which since Linux 6.8 it is by the time it is looked at. */
	while (!(look_at(host, arg[1])->ifi_flags & IFF_RUNNING))
		;
	set_mac(index, ip);
	ask(pod);
}

/* The routed pair: the gateway's address on the host end, a host route to the container, and in the container a
 * route to the gateway, and through it to the subnet and to everything else. */
static void add_veth(char **arg)
{
	int netns = open_namespace(arg[0]), host = open_socket(), prefix;
	__u32 ip = parse(arg[3], &prefix), gateway = parse(arg[4], 0);
	__u32 subnet = ip & __builtin_bswap32(~0U << (32 - prefix));

	create_pair(host, arg[1], arg[2], netns, 0);
	int index = look_up(host, arg[1]);

	address(index, gateway, 32, 0);
	route(index, ip, 32, 0, NLM_F_ACK);
	ask(host);

	enter(netns);
	int pod = open_socket();

	index = look_up(pod, arg[2]);
	switch_link(index, IFF_UP, 0);
	address(index, ip, prefix, IFA_F_NOPREFIXROUTE);
	route(index, gateway, 32, 0, 0);
	route(index, subnet, prefix, gateway, 0);
	route(index, 0, 0, gateway, NLM_F_ACK);
	ask(pod);
}

static void loopback(char **arg)
{
	enter(open_namespace(arg[0]));
	switch_link(1, same(arg[1], "up") ? IFF_UP : 0, NLM_F_ACK); /* lo is link 1 in every namespace */
	ask(open_socket());
}

static void delete(char **arg)
{
	message(RTM_DELLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
	text(IFLA_IFNAME, arg[0]);
	ask(open_socket());
}

/* stack: argc, then argv, as the kernel leaves them. */
void begin(long *stack)
{
	long count = stack[0] - 2;
	char **arg = (char **)(stack + 3), *verb = count >= 0 ? arg[-1] : "";

	if (same(verb, "bridge") && (count == 6 || (count == 7 && same(arg[6], "announce"))))
		add_bridge(arg, count == 7);
	else if (same(verb, "veth") && count == 5)
		add_veth(arg);
	else if (same(verb, "loopback") && count == 2)
		loopback(arg);
	else if (same(verb, "delete") && count == 1)
		delete(arg);
	else if (!same(verb, "nothing"))
		finish(USAGE);
	finish(0);
}
