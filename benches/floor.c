/*
 * The floor of `benches/sessions.rs`: the least that whole transactions cost a client on this system.
 *
 *     floor ADDRESS PORT AT-ONCE SESSIONS MESSAGE-BYTES SOURCE...
 *
 * One process, one epoll, fixed strings: connect, wait for the banner, HELO, MAIL, RCPT, DATA, a message
 * of so many bytes, QUIT, wait for the 221, close. Nothing is recorded, looked up or timed, and of a reply
 * no more is read than where its last line ends and whether it begins with 2 or 3. Another first digit, a
 * connection that is refused or lost, an argument that does not fit: it says so and exits with status 1.
 *
 * cc -O2 -o floor floor.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAILBOX "me@own.example"
#define HEADER "From: " MAILBOX "\r\nTo: " MAILBOX "\r\nSubject: floor\r\n\r\n"
#define END "\r\n.\r\n"

struct text {
    const char *bytes;
    size_t length;
};

#define TEXT(string) { string, sizeof string - 1 }

/* What is said after each reply; the message takes its place in main. */
static struct text script[] = {
    TEXT("HELO probe.example\r\n"),
    TEXT("MAIL FROM:<" MAILBOX ">\r\n"),
    TEXT("RCPT TO:<" MAILBOX ">\r\n"),
    TEXT("DATA\r\n"),
    { NULL, 0 },
    TEXT("QUIT\r\n"),
};

enum { STEPS = sizeof script / sizeof *script, MESSAGE = 4 };

/* One that is open. */
struct session {
    int fd;
    int step;    /* how many replies it has had */
    int column;  /* in the line of a reply that is being read */
    char fourth; /* that line's fourth byte: "-" where another line follows */
};

static struct sockaddr_in to;
static struct sockaddr_in *sources;
static long source_count, started, sessions;
static int epoll;

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

/* A whole number of at least `least`. */
static long number(const char *text, const char *what, long least)
{
    char *end;
    errno = 0;
    long found = strtol(text, &end, 10);
    if (errno || *end || end == text || found < least)
        fail(what);
    return found;
}

static struct sockaddr_in address(const char *text, long port)
{
    struct sockaddr_in found = { .sin_family = AF_INET, .sin_port = htons((in_port_t)port) };
    errno = 0;
    if (inet_pton(AF_INET, text, &found.sin_addr) != 1)
        fail(text);
    return found;
}

/* So many bytes of message: a header, lines of 78 bytes, the dot. */
static void compose(size_t bytes)
{
    size_t least = sizeof HEADER - 1 + sizeof END - 1;
    errno = 0;
    if (bytes < least)
        fail("wanted more bytes of message");
    char *text = malloc(bytes);
    if (!text)
        fail("malloc");
    memset(text, 'x', bytes);
    memcpy(text, HEADER, sizeof HEADER - 1);
    for (size_t at = sizeof HEADER - 1 + 76; at + 2 <= bytes - (sizeof END - 1); at += 78)
        memcpy(text + at, "\r\n", 2);
    memcpy(text + bytes - (sizeof END - 1), END, sizeof END - 1);
    script[MESSAGE] = (struct text){ text, bytes };
}

/*
 * The source is bound with port 0 and no option set, as in a client that knows nothing of ports: with
 * IP_BIND_ADDRESS_NO_PORT, which is a system call more, and with no bind at all it took the same CPU to
 * within what one run differs from the next. Fresh sources have their ports free.
 */
static void open_session(struct session *session)
{
    struct sockaddr_in *from = &sources[started++ % source_count];
    *session = (struct session){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
    if (session->fd < 0)
        fail("socket");
    if (bind(session->fd, (struct sockaddr *)from, sizeof *from) < 0)
        fail("bind");
    if (connect(session->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        fail("connect");
    /* The banner is the first that is waited for: that the connection is up goes without asking. */
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = session };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, session->fd, &event) < 0)
        fail("epoll_ctl");
}

/* Whether a reply is complete with these bytes: nothing is pipelined, so that nothing follows it. */
static int complete(struct session *session, const char *bytes, size_t count)
{
    int last = 0;
    errno = 0;
    for (size_t i = 0; i < count; i++) {
        if (session->column == 0 && bytes[i] != '2' && bytes[i] != '3')
            fail("a reply that does not begin with 2 or 3");
        if (session->column == 3)
            session->fourth = bytes[i];
        session->column = bytes[i] == '\n' ? 0 : session->column + 1;
        last = session->column == 0 && session->fourth != '-';
    }
    return last;
}

/* Takes what has come, and says what comes next. Whether the session goes on. */
static int go_on(struct session *session)
{
    char bytes[2048];
    ssize_t count = recv(session->fd, bytes, sizeof bytes, 0);
    if (count < 0 && errno == EAGAIN)
        return 1;
    if (count <= 0) {
        errno = count ? errno : 0;
        fail("the connection was lost");
    }
    if (!complete(session, bytes, (size_t)count))
        return 1;
    if (session->step == STEPS)
        return 0;
    struct text *next = &script[session->step++];
    errno = 0;
    if (send(session->fd, next->bytes, next->length, MSG_NOSIGNAL) != (ssize_t)next->length)
        fail("send");
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 7)
        fail("wanted ADDRESS PORT AT-ONCE SESSIONS MESSAGE-BYTES SOURCE...");
    to = address(argv[1], number(argv[2], "no number of at least 1: port", 1));
    long at_once = number(argv[3], "no number of at least 1: at once", 1);
    sessions = number(argv[4], "no number of at least 1: sessions", 1);
    compose((size_t)number(argv[5], "no number of at least 1: message bytes", 1));
    source_count = argc - 6;
    sources = calloc((size_t)source_count, sizeof *sources);
    struct session *open = calloc((size_t)at_once, sizeof *open);
    struct epoll_event *events = calloc((size_t)at_once, sizeof *events);
    if (!sources || !open || !events || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("start");
    for (long i = 0; i < source_count; i++)
        sources[i] = address(argv[6 + i], 0);

    long left = sessions;
    for (long i = 0; i < at_once && started < sessions; i++)
        open_session(&open[i]);
    while (left > 0) {
        int ready = epoll_wait(epoll, events, (int)at_once, -1);
        if (ready < 0)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct session *session = events[i].data.ptr;
            if (go_on(session))
                continue;
            close(session->fd);
            left--;
            if (started < sessions)
                open_session(session);
        }
    }
    return 0;
}
