/* SSEDecoder, compiled: the same class as in _sse.py, which says what each part means.

   The strategy:

   - A line is interpreted where it lies in the caller's bytes. Only a line that a chunk leaves
     unfinished is copied, into `tail`, which grows in place by a constant factor.
   - Line ends are found by memchr. The next LF and the next CR are both remembered, so that a
     stream that never has the one is not searched for it again at each line.
   - `data: X` before a blank line, which is nearly every event, becomes a str and an event at
     once. Only the data of events with several data lines, or with a chunk's end among them, is
     collected, as bytes, in `data`. Decoding those joined equals joining them decoded, because
     an LF ends any truncated sequence.
   - An item is allocated as an instance of its class, which is in Python, and its slots are set
     where the member descriptors say they are: one allocation, no call. It is not tracked by the
     garbage collector: all that it refers to is strings and an int. The default type, a type
     that repeats and an unchanged ID are shared strings.
   - No allocation is larger than the chunk, the limit, or a constant factor of these.
   - A decoder at work runs no Python code, but for finalizers, where an allocation runs the
     garbage collector, as in CPython 3.11, and those may call this very decoder. `enter` refuses that and, in builds
     without the GIL, makes other threads wait. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <string.h>

#define MAX_RECONNECTION_TIME PY_LLONG_MAX
/* An idle decoder keeps no buffer larger than this. */
#define IDLE_CAPACITY 64
/* Longer texts, in bytes, are left to CPython's decoder. */
#define SHORT_TEXT 256
#define MAX_CODE_POINT 0x10FFFF
/* Types that repeat are words. */
#define LONGEST_REMEMBERED_TYPE 64

/* ---- module state --------------------------------------------------------------------------- */

/* A class of items, and where its instances have their slots. */
typedef struct {
    PyTypeObject *type;
    Py_ssize_t offsets[4];
} ItemClass;

typedef struct {
    ItemClass server_sent_event; /* event, data, id, retry */
    ItemClass comment;           /* text */
    ItemClass unknown_field;     /* name, value */
    PyObject *as_bytes;
    PyObject *event_too_large;
    PyObject *local_protocol_error;
    PyObject *message; /* the default event type */
    PyObject *empty;
} State;

/* ---- the object ----------------------------------------------------------------------------- */

typedef struct {
    char *bytes;
    Py_ssize_t size;
    Py_ssize_t capacity;
} Buffer;

enum { OPEN, CLOSED, TOO_LARGE, FAILED };
static const char *const OVER[] = {"", "close()", "EventTooLarge", "a failure"};

typedef struct {
    PyObject_HEAD
    State *state; /* of the module, which the type keeps alive */
    Py_ssize_t limit;
    Py_ssize_t size; /* of the pending event, without the unfinished line */
    Buffer tail;     /* the unfinished line */
    Buffer data;     /* the data lines since the last dispatch, an LF after each */
    PyObject *last_event_id;
    PyObject *id_buffer;
    PyObject *event_type;      /* NULL for the default */
    PyObject *last_event_type; /* the last one that was decoded, or NULL */
    long long reconnection_time; /* -1 for none */
    long long retry;             /* of the pending event, -1 for none */
#ifdef Py_GIL_DISABLED
    PyMutex mutex;
    unsigned long owner;
#else
    char busy;
#endif
    char comments;
    char unknown_fields;
    char dispatch_at_eof;
    char over;
    char at_start; /* only a part of a byte order mark, if anything, has come: it is in tail */
    char after_cr;
} Decoder;

static struct PyModuleDef speedups_module;

static const unsigned char BOM[] = {0xEF, 0xBB, 0xBF};

/* Take the decoder for this thread. Return -1 with an error if this thread has it already. With
   the GIL, another thread can find it taken only where a finalizer has let that thread run. */
static int
enter(Decoder *self)
{
#ifdef Py_GIL_DISABLED
    unsigned long me = PyThread_get_thread_ident();
    if (_Py_atomic_load_ulong_relaxed(&self->owner) != me) {
        PyMutex_Lock(&self->mutex);
        _Py_atomic_store_ulong_relaxed(&self->owner, me);
        return 0;
    }
#else
    if (!self->busy) {
        self->busy = 1;
        return 0;
    }
#endif
    PyErr_SetString(self->state->local_protocol_error, "the decoder is already in use");
    return -1;
}

static void
leave(Decoder *self)
{
#ifdef Py_GIL_DISABLED
    _Py_atomic_store_ulong_relaxed(&self->owner, 0);
    PyMutex_Unlock(&self->mutex);
#else
    self->busy = 0;
#endif
}

static int
append(Buffer *buffer, const char *bytes, Py_ssize_t size)
{
    if (size > buffer->capacity - buffer->size) {
        if (size > PY_SSIZE_T_MAX / 2 - buffer->size) {
            PyErr_NoMemory();
            return -1;
        }
        /* An eighth more than what is needed: linear in all, and little over for long lines. */
        Py_ssize_t capacity = buffer->size + size;
        capacity += (capacity >> 3) + IDLE_CAPACITY;
        char *grown = PyMem_Realloc(buffer->bytes, (size_t)capacity);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        buffer->bytes = grown;
        buffer->capacity = capacity;
    }
    if (size > 0) {
        memcpy(buffer->bytes + buffer->size, bytes, (size_t)size);
        buffer->size += size;
    }
    return 0;
}

static void
release(Buffer *buffer)
{
    PyMem_Free(buffer->bytes);
    memset(buffer, 0, sizeof(*buffer));
}

static void
shrink(Buffer *buffer)
{
    if (buffer->size == 0 && buffer->capacity > IDLE_CAPACITY) {
        release(buffer);
    }
}

static int
is_ascii(const char *bytes, Py_ssize_t size)
{
    signed char seen = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        seen |= (signed char)bytes[i];
    }
    return seen >= 0;
}

/* Return the length of the UTF-8 sequence at `p` and set its code point; 0 if it is malformed, or
   if `end` cuts it (the Unicode Standard, table 3-7). */
static inline int
decode_sequence(const unsigned char *p, const unsigned char *end, Py_UCS4 *point)
{
#define CONTINUES(i) ((p[i] & 0xC0) == 0x80)
    Py_UCS4 lead = p[0];
    if (lead < 0x80) {
        *point = lead;
        return 1;
    }
    if (lead < 0xE0) {
        if (lead < 0xC2 || end - p < 2 || !CONTINUES(1)) {
            return 0;
        }
        *point = (lead & 0x1F) << 6 | (p[1] & 0x3F);
        return 2;
    }
    if (lead < 0xF0) {
        if (end - p < 3 || !CONTINUES(1) || !CONTINUES(2)) {
            return 0;
        }
        *point = (lead & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
        return *point < 0x800 || (*point >= 0xD800 && *point <= 0xDFFF) ? 0 : 3;
    }
    if (end - p < 4 || lead > 0xF4 || !CONTINUES(1) || !CONTINUES(2) || !CONTINUES(3)) {
        return 0;
    }
    *point = (lead & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    return *point < 0x10000 || *point > MAX_CODE_POINT ? 0 : 4;
#undef CONTINUES
}

#define WRITE_TEXT(unit, data)                                                                   \
    do {                                                                                         \
        unit *to = (unit *)(data);                                                               \
        for (Py_ssize_t i = 0; i < prefix; i++) {                                                \
            to[i] = bytes[i];                                                                    \
        }                                                                                        \
        for (Py_ssize_t i = 0; i < count; i++) {                                                 \
            to[prefix + i] = (unit)points[i];                                                    \
        }                                                                                        \
    } while (0)

/* Decode a text of at most SHORT_TEXT bytes that is not ASCII. CPython's decoder finds out how
   wide the characters are as it goes, and makes another string each time; this one collects them
   first. What is malformed is left to CPython's. */
static PyObject *
decode_short(const unsigned char *bytes, Py_ssize_t size)
{
    const unsigned char *end = bytes + size;
    Py_ssize_t prefix = 0;
    while (prefix + 8 <= size && is_ascii((const char *)bytes + prefix, 8)) {
        prefix += 8;
    }
    while (bytes[prefix] < 0x80) {
        prefix++;
    }
    Py_UCS4 points[SHORT_TEXT], all = 0;
    Py_ssize_t count = 0;
    for (const unsigned char *p = bytes + prefix; p < end;) {
        if (*p < 0x80 && end - p >= 8 && is_ascii((const char *)p, 8)) {
            for (int i = 0; i < 8; i++) {
                points[count++] = *p++;
            }
            continue;
        }
        int length = decode_sequence(p, end, &points[count]);
        if (length == 0) {
            return PyUnicode_DecodeUTF8((const char *)bytes, size, "replace");
        }
        all |= points[count++];
        p += length;
    }
    /* Together, the bits of two code points may be more than there are. */
    PyObject *text = PyUnicode_New(prefix + count, all > MAX_CODE_POINT ? MAX_CODE_POINT : all);
    if (text == NULL) {
        return NULL;
    }
    switch (PyUnicode_KIND(text)) {
    case PyUnicode_1BYTE_KIND:
        WRITE_TEXT(Py_UCS1, PyUnicode_DATA(text));
        break;
    case PyUnicode_2BYTE_KIND:
        WRITE_TEXT(Py_UCS2, PyUnicode_DATA(text));
        break;
    default:
        WRITE_TEXT(Py_UCS4, PyUnicode_DATA(text));
    }
    return text;
}

static PyObject *
decode(const char *bytes, Py_ssize_t size)
{
    /* Short ones may be shared; of others, a check and a copy, which compilers make wide, take
       less time than the decoder, which goes by words. */
    if (size < 2) {
        return PyUnicode_DecodeUTF8(bytes, size, "replace");
    }
    if (!is_ascii(bytes, size)) {
        /* A single character of two bytes is shared, too. */
        return size > 2 && size <= SHORT_TEXT
                   ? decode_short((const unsigned char *)bytes, size)
                   : PyUnicode_DecodeUTF8(bytes, size, "replace");
    }
    PyObject *text = PyUnicode_New(size, 127);
    if (text != NULL) {
        memcpy(PyUnicode_DATA(text), bytes, (size_t)size);
    }
    return text;
}

/* Return `known` again if it is what `bytes` say, else a new string. */
static PyObject *
decode_again(PyObject *known, const char *bytes, Py_ssize_t size)
{
    if (known != NULL && PyUnicode_IS_COMPACT_ASCII(known) &&
        PyUnicode_GET_LENGTH(known) == size &&
        memcmp(PyUnicode_DATA(known), bytes, (size_t)size) == 0) {
        return Py_NewRef(known);
    }
    return decode(bytes, size);
}

static PyObject *
integer_or_none(long long value)
{
    return value < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(value);
}

/* Return where the first `c` from `p` on is, or `end`. */
static inline const char *
find(const char *p, char c, const char *end)
{
    const char *found = memchr(p, c, (size_t)(end - p));
    return found == NULL ? end : found;
}

/* Set `target` to a new reference to `module.name`. */
static int
import_from(const char *module, const char *name, PyObject **target)
{
    PyObject *imported = PyImport_ImportModule(module);
    if (imported == NULL) {
        return -1;
    }
    *target = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    if (*target == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Format(PyExc_ImportError, "%s has no %s: was this built for another version?",
                     module, name);
    }
    return *target == NULL ? -1 : 0;
}

/* ---- items ---------------------------------------------------------------------------------- */

/* Append `item`, whose reference it takes; NULL is the error of its creation. */
static int
deliver(PyObject *items, PyObject *item)
{
    if (item == NULL) {
        return -1;
    }
    int result = PyList_Append(items, item);
    Py_DECREF(item);
    return result;
}

/* Append an item of `class` with `values`, whose references it takes; a NULL among them is the
   error of its creation. */
static int
deliver_item(const ItemClass *class, PyObject **values, int count, PyObject *items)
{
    int complete = 1;
    for (int i = 0; i < count; i++) {
        complete &= values[i] != NULL;
    }
    PyObject *item = complete ? PyObject_GC_New(PyObject, class->type) : NULL;
    for (int i = 0; i < count; i++) {
        if (item == NULL) {
            Py_XDECREF(values[i]);
        }
        else {
            *(PyObject **)((char *)item + class->offsets[i]) = values[i];
        }
    }
    return deliver(items, item);
}

/* Deliver the pending event with `data`, whose reference it takes ("dispatch the event"). */
static int
dispatch(Decoder *self, PyObject *data, PyObject *items)
{
    PyObject *type = self->event_type == NULL ? self->state->message : self->event_type;
    PyObject *values[] = {
        Py_NewRef(type),
        data,
        Py_NewRef(self->id_buffer),
        integer_or_none(self->retry),
    };
    return deliver_item(&self->state->server_sent_event, values, 4, items);
}

/* A blank line. */
static int
end_event(Decoder *self, PyObject *items)
{
    if (self->last_event_id != self->id_buffer) {
        Py_SETREF(self->last_event_id, Py_NewRef(self->id_buffer));
    }
    if (self->data.size > 0) {
        PyObject *data = decode(self->data.bytes, self->data.size - 1);
        self->data.size = 0;
        if (dispatch(self, data, items) < 0) {
            return -1;
        }
    }
    Py_CLEAR(self->event_type);
    self->retry = -1;
    self->size = 0;
    return 0;
}

static void
set_reconnection_time(Decoder *self, const char *value, Py_ssize_t size)
{
    if (size == 0) {
        return;
    }
    long long time = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        int digit = value[i] - '0';
        if (digit < 0 || digit > 9) {
            return;
        }
        time = time > (MAX_RECONNECTION_TIME - digit) / 10 ? MAX_RECONNECTION_TIME
                                                           : time * 10 + digit;
    }
    self->reconnection_time = self->retry = time;
}

/* A comment, `line` with its colon. */
static int
comment(Decoder *self, const char *line, Py_ssize_t size, PyObject *items)
{
    Py_ssize_t skip = size > 1 && line[1] == ' ' ? 2 : 1;
    PyObject *values[] = {decode(line + skip, size - skip)};
    return deliver_item(&self->state->comment, values, 1, items);
}

static int
unknown_field(Decoder *self, const char *line, Py_ssize_t size, PyObject *items)
{
    const char *end = line + size;
    const char *colon = find(line, ':', end);
    const char *value = colon < end ? colon + 1 : end;
    if (value < end && *value == ' ') {
        value++;
    }
    PyObject *values[] = {decode(line, colon - line), decode(value, end - value)};
    return deliver_item(&self->state->unknown_field, values, 2, items);
}

/* Interpret a line that is not blank ("process the field"). `blank_follows` says that the next
   line is there and blank: then 1 is returned if that has been dealt with too, else 0. */
static int
interpret(Decoder *self, const char *line, Py_ssize_t size, int blank_follows, PyObject *items)
{
    if (line[0] == ':') {
        return self->comments ? comment(self, line, size, items) : 0;
    }
    self->size += size;

    /* The names of interest have at most five letters: a colon further on makes no difference,
       except to the name of an unknown field. */
    Py_ssize_t name_size = 0;
    Py_ssize_t longest = size < 6 ? size : 6;
    while (name_size < longest && line[name_size] != ':') {
        name_size++;
    }
    const char *value = line + name_size;
    if (name_size < size && line[name_size] == ':') {
        value++;
        if (value < line + size && *value == ' ') {
            value++;
        }
    }
    Py_ssize_t value_size = line + size - value;

    if (name_size == 4 && memcmp(line, "data", 4) == 0) {
        if (!blank_follows || self->data.size > 0) {
            return append(&self->data, value, value_size) < 0 ||
                           append(&self->data, "\n", 1) < 0
                       ? -1
                       : 0;
        }
        if (dispatch(self, decode(value, value_size), items) < 0) {
            return -1;
        }
        return end_event(self, items) < 0 ? -1 : 1;
    }
    if (name_size == 5 && memcmp(line, "event", 5) == 0) {
        PyObject *type = NULL;
        if (value_size > 0) {
            type = decode_again(self->last_event_type, value, value_size);
            if (type == NULL) {
                return -1;
            }
            if (value_size <= LONGEST_REMEMBERED_TYPE) {
                Py_XSETREF(self->last_event_type, Py_NewRef(type));
            }
        }
        Py_XSETREF(self->event_type, type);
        return 0;
    }
    if (name_size == 2 && memcmp(line, "id", 2) == 0) {
        if (memchr(value, '\0', (size_t)value_size) == NULL) {
            PyObject *id = decode_again(self->id_buffer, value, value_size);
            if (id == NULL) {
                return -1;
            }
            Py_SETREF(self->id_buffer, id);
        }
        return 0;
    }
    if (name_size == 5 && memcmp(line, "retry", 5) == 0) {
        set_reconnection_time(self, value, value_size);
        return 0;
    }
    return self->unknown_fields ? unknown_field(self, line, size, items) : 0;
}

/* ---- the parser ----------------------------------------------------------------------------- */

/* The event outgrows the limit in `line`: keep as much of that as there is room for. */
static int
stop(Decoder *self, const char *line)
{
    self->over = TOO_LARGE;
    return append(&self->tail, line, self->limit - self->size - self->tail.size);
}

/* Deliver the items that the bytes from `p` to `end` complete. At the limit it stops. */
static int
parse(Decoder *self, const char *p, const char *end, PyObject *items)
{
    if (self->after_cr && p < end) {
        self->after_cr = 0;
        if (*p == '\n') {
            p++;
        }
    }
    /* Where the next LF and CR are; before `p`, they have to be looked for again. */
    const char *lf = find(p, '\n', end);
    const char *cr = find(p, '\r', end);
    while (p < end) {
        const char *line_end = lf < cr ? lf : cr;
        Py_ssize_t size = line_end - p;
        if (size > 0 && size > self->limit - self->size - self->tail.size) {
            return stop(self, p);
        }
        if (line_end == end) {
            return append(&self->tail, p, size);
        }
        const char *line = p;
        if (self->tail.size > 0) {
            if (append(&self->tail, p, size) < 0) {
                return -1;
            }
            line = self->tail.bytes;
            size = self->tail.size;
            self->tail.size = 0;
        }

        p = line_end + 1;
        if (line_end == cr) {
            if (p == end) {
                self->after_cr = 1;
            }
            else if (*p == '\n') {
                p++;
            }
        }
        int blank_follows = p < end && (*p == '\n' || *p == '\r');
        int result = size == 0 ? end_event(self, items)
                               : interpret(self, line, size, blank_follows, items);
        if (result < 0) {
            return -1;
        }
        if (result == 1) {
            int is_cr = *p++ == '\r';
            if (is_cr && p == end) {
                self->after_cr = 1;
            }
            else if (is_cr && *p == '\n') {
                p++;
            }
        }
        if (lf < p) {
            lf = find(p, '\n', end);
        }
        if (cr < p) {
            cr = find(p, '\r', end);
        }
    }
    return 0;
}

/* Parse `bytes` without the byte order mark that may lead the stream ("decode"). */
static int
parse_start(Decoder *self, const char *p, const char *end, PyObject *items)
{
    while (self->tail.size < 3 && p < end &&
           (unsigned char)*p == BOM[self->tail.size]) {
        if (append(&self->tail, p++, 1) < 0) {
            return -1;
        }
    }
    if (self->tail.size == 3) {
        self->tail.size = 0;
    }
    else if (p == end) {
        return 0;
    }
    self->at_start = 0;
    /* What looked like a mark is like any other bytes now. */
    char head[2];
    Py_ssize_t head_size = self->tail.size;
    memcpy(head, self->tail.bytes == NULL ? "" : self->tail.bytes, (size_t)head_size);
    self->tail.size = 0;
    if (head_size > 0 && parse(self, head, head + head_size, items) < 0) {
        return -1;
    }
    return self->over ? 0 : parse(self, p, end, items);
}

/* ---- the methods ---------------------------------------------------------------------------- */

static void
discard(Decoder *self)
{
    self->over = OPEN;
    self->at_start = 1;
    self->after_cr = 0;
    self->size = 0;
    self->retry = -1;
    release(&self->tail);
    release(&self->data);
    Py_CLEAR(self->event_type);
    Py_CLEAR(self->last_event_type);
    Py_XSETREF(self->id_buffer, Py_NewRef(self->last_event_id));
}

static PyObject *
decoder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *module = PyType_GetModuleByDef(type, &speedups_module);
    if (module == NULL) {
        return NULL;
    }
    Decoder *self = (Decoder *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = PyModule_GetState(module);
    self->limit = PY_SSIZE_T_MAX;
    self->reconnection_time = -1;
    self->last_event_id = Py_NewRef(self->state->empty);
    discard(self);
    return (PyObject *)self;
}

/* Whether `id` has a character that no ID of a stream can have; -1 is an error. */
static int
is_impossible_id(PyObject *id)
{
    for (const char *c = "\r\n"; *c != '\0'; c++) {
        Py_ssize_t at = PyUnicode_FindChar(id, (Py_UCS4)*c, 0, PyUnicode_GET_LENGTH(id), 1);
        if (at != -1) {
            return at == -2 ? -1 : 1;
        }
    }
    Py_ssize_t at = PyUnicode_FindChar(id, 0, 0, PyUnicode_GET_LENGTH(id), 1);
    return at == -2 ? -1 : at != -1;
}

static int
decoder_init(Decoder *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"last_event_id",  "max_event_size",  "comments",
                            "unknown_fields", "dispatch_at_eof", NULL};
    PyObject *last_event_id = self->state->empty;
    PyObject *max_event_size = NULL;
    int comments = 0, unknown_fields = 0, dispatch_at_eof = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$UOppp:SSEDecoder", names, &last_event_id,
                                     &max_event_size, &comments, &unknown_fields,
                                     &dispatch_at_eof)) {
        return -1;
    }
    int impossible = is_impossible_id(last_event_id);
    if (impossible != 0) {
        if (impossible > 0) {
            PyErr_Format(PyExc_ValueError, "a last event ID has no CR, LF or NUL: %R",
                         last_event_id);
        }
        return -1;
    }
    Py_ssize_t limit = 64 * 1024 * 1024;
    if (max_event_size == Py_None) {
        limit = PY_SSIZE_T_MAX;
    }
    else if (max_event_size != NULL) {
        limit = PyNumber_AsSsize_t(max_event_size, NULL); /* a larger one is clipped */
        if (limit == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (limit < 1) {
            PyErr_Format(PyExc_ValueError, "max_event_size must be at least 1, or None: %S",
                         max_event_size);
            return -1;
        }
    }
    /* Not of a subclass, which could refer to anything: items are not tracked. */
    last_event_id = PyUnicode_FromObject(last_event_id);
    if (last_event_id == NULL) {
        return -1;
    }
    if (enter(self) < 0) {
        Py_DECREF(last_event_id);
        return -1;
    }
    self->limit = limit;
    self->comments = (char)comments;
    self->unknown_fields = (char)unknown_fields;
    self->dispatch_at_eof = (char)dispatch_at_eof;
    self->reconnection_time = -1;
    Py_SETREF(self->last_event_id, last_event_id);
    discard(self);
    leave(self);
    return 0;
}

static int
decoder_traverse(Decoder *self, visitproc visit, void *arg)
{
    /* All else that it refers to is strings, of exactly that class. */
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
decoder_dealloc(Decoder *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    release(&self->tail);
    release(&self->data);
    Py_CLEAR(self->last_event_id);
    Py_CLEAR(self->id_buffer);
    Py_CLEAR(self->event_type);
    Py_CLEAR(self->last_event_type);
    type->tp_free(self);
    Py_DECREF(type);
}

/* What feed and close have in common. */
static PyObject *
run(Decoder *self, int (*parser)(Decoder *, const char *, const char *, PyObject *),
    const char *bytes, Py_ssize_t size)
{
    PyObject *items = PyList_New(0);
    if (items == NULL || parser(self, bytes, bytes + size, items) < 0) {
        /* Items are lost: it must not seem that the stream can go on. */
        self->over = FAILED;
        Py_CLEAR(items);
    }
    shrink(&self->tail);
    shrink(&self->data);
    return items;
}

/* Raise EventTooLarge with `items`, whose reference it takes. */
static PyObject *
too_large(State *state, Py_ssize_t limit, PyObject *items)
{
    PyObject *error = PyObject_CallFunction(state->event_too_large, "n", limit);
    if (error != NULL && PyObject_SetAttrString(error, "events", items) == 0) {
        PyErr_SetObject(state->event_too_large, error);
    }
    Py_XDECREF(error);
    Py_DECREF(items);
    return NULL;
}

PyDoc_STRVAR(feed_doc, "feed($self, data, /)\n--\n\n"
"Take the next bytes of the stream and return the items that they complete, in order.\n\n"
"Raises EventTooLarge when an event outgrows the limit (the items before it are its\n"
"`events`), LocalProtocolError after that or after `close`, TypeError for a str.");

static PyObject *
feed_after_end(Decoder *self)
{
    return PyErr_Format(self->state->local_protocol_error,
                        "feed() after %s: reset() the decoder first", OVER[(int)self->over]);
}

static PyObject *
decoder_feed(Decoder *self, PyObject *data)
{
    PyObject *bytes = PyBytes_CheckExact(data)
                          ? Py_NewRef(data)
                          : PyObject_CallOneArg(self->state->as_bytes, data);
    if (bytes == NULL) {
        return NULL;
    }
    if (!PyBytes_Check(bytes)) {
        Py_DECREF(bytes);
        PyErr_SetString(PyExc_TypeError, "as_bytes() did not return bytes");
        return NULL;
    }
    PyObject *items = NULL;
    Py_ssize_t limit = 0;
    int is_too_large = 0;
    if (enter(self) == 0) {
        items = self->over ? feed_after_end(self)
                           : run(self, self->at_start ? parse_start : parse,
                                 PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
        limit = self->limit;
        is_too_large = self->over == TOO_LARGE;
        leave(self);
    }
    Py_DECREF(bytes);
    return items != NULL && is_too_large ? too_large(self->state, limit, items) : items;
}

PyDoc_STRVAR(close_doc, "close($self)\n--\n\n"
"Tell the end of the stream, and return what it completes.\n\n"
"That is nothing, unless `dispatch_at_eof` is set: the standard discards what no blank\n"
"line has followed. Closing again, or after an error, does nothing.");

static PyObject *
decoder_close(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) < 0) {
        return NULL;
    }
    int blank_lines = self->over == OPEN && self->dispatch_at_eof ? 2 : 0;
    if (self->over == OPEN) {
        self->over = CLOSED;
    }
    PyObject *items = run(self, parse, "\n\n", blank_lines);
    leave(self);
    return items;
}

PyDoc_STRVAR(reset_doc, "reset($self)\n--\n\n"
"Start over for a new connection.\n\n"
"The last event ID and the reconnection time stay; all that was pending is discarded.");

static PyObject *
decoder_reset(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) < 0) {
        return NULL;
    }
    discard(self);
    leave(self);
    Py_RETURN_NONE;
}

/* ---- pickling: the state is that of the class in Python, so that each can go on from the other's */

PyDoc_STRVAR(getstate_doc, "__getstate__($self)\n--\n\nReturn all of its state.");

static PyObject *
decoder_getstate(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    PyObject *data = PyList_New(0);
    if (data == NULL ||
        (self->data.size > 0 && deliver(data, decode(self->data.bytes, self->data.size - 1)) < 0)) {
        goto done;
    }
    result = Py_BuildValue(
        "{s:O, s:O, s:O, s:O, s:O, s:n, s:n, s:n, s:s, s:O, s:O, s:O, s:N, s:N, s:O, s:[], s:N}",
        "_comments", self->comments ? Py_True : Py_False,
        "_unknown_fields", self->unknown_fields ? Py_True : Py_False,
        "_dispatch_at_eof", self->dispatch_at_eof ? Py_True : Py_False,
        "_at_start", self->at_start ? Py_True : Py_False,
        "_after_cr", self->after_cr ? Py_True : Py_False,
        "_limit", self->limit,
        "_size", self->size,
        "_room", self->limit - self->size - (self->at_start ? 0 : self->tail.size),
        "_over", OVER[(int)self->over],
        "_last_event_id", self->last_event_id,
        "_id_buffer", self->id_buffer,
        "_event_type", self->event_type == NULL ? self->state->empty : self->event_type,
        "_reconnection_time", integer_or_none(self->reconnection_time),
        "_retry", integer_or_none(self->retry),
        "_data", data,
        "_data_blocks",
        "_tail", PyByteArray_FromStringAndSize(self->tail.bytes, self->tail.size));
done:
    Py_XDECREF(data);
    leave(self);
    return result;
}

/* The readers of a state: a new reference to a value of the right type, or an error. */
static PyObject *
get(PyObject *state, const char *name, PyTypeObject *type, int or_none)
{
    PyObject *key = PyUnicode_FromString(name);
    PyObject *value = key == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(state, key));
    Py_XDECREF(key);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (value == NULL || !(PyObject_TypeCheck(value, type) || (or_none && value == Py_None))) {
        PyErr_Format(PyExc_ValueError, "not a state of SSEDecoder: %s", name);
        Py_CLEAR(value);
    }
    return value;
}

static int
get_flag(PyObject *state, const char *name, char *flag)
{
    PyObject *value = get(state, name, &PyBool_Type, 0);
    *flag = value == Py_True;
    Py_XDECREF(value);
    return value == NULL ? -1 : 0;
}

static int
get_size(PyObject *state, const char *name, Py_ssize_t *size)
{
    PyObject *value = get(state, name, &PyLong_Type, 0);
    if (value == NULL) {
        return -1;
    }
    *size = PyLong_AsSsize_t(value);
    Py_DECREF(value);
    return *size == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
get_time(PyObject *state, const char *name, long long *time)
{
    PyObject *value = get(state, name, &PyLong_Type, 1);
    if (value == NULL) {
        return -1;
    }
    *time = value == Py_None ? -1 : PyLong_AsLongLong(value);
    Py_DECREF(value);
    return *time == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
get_string(PyObject *state, const char *name, PyObject **string)
{
    PyObject *value = get(state, name, &PyUnicode_Type, 0);
    PyObject *exact = value == NULL ? NULL : PyUnicode_FromObject(value);
    Py_XDECREF(value);
    if (exact == NULL) {
        return -1;
    }
    Py_XSETREF(*string, exact);
    return 0;
}

static int
get_lines(PyObject *state, const char *name, Buffer *data)
{
    PyObject *list = get(state, name, &PyList_Type, 0);
    PyObject *lines = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    int result = lines == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(lines); i++) {
        Py_ssize_t size;
        const char *line = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(lines, i), &size);
        if (line == NULL || append(data, line, size) < 0 || append(data, "\n", 1) < 0) {
            result = -1;
        }
    }
    Py_XDECREF(lines);
    return result;
}

static int
get_over(PyObject *state, char *over)
{
    PyObject *value = get(state, "_over", &PyUnicode_Type, 0);
    if (value == NULL) {
        return -1;
    }
    *over = OPEN;
    while (*over <= FAILED && PyUnicode_CompareWithASCIIString(value, OVER[(int)*over])) {
        ++*over;
    }
    Py_DECREF(value);
    return 0;
}

static int
get_tail(PyObject *state, Buffer *tail)
{
    PyObject *value = get(state, "_tail", &PyByteArray_Type, 0);
    PyObject *bytes = value == NULL ? NULL : PyBytes_FromObject(value);
    Py_XDECREF(value);
    int result = bytes == NULL
                     ? -1
                     : append(tail, PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
    Py_XDECREF(bytes);
    return result;
}

static int
set_state(Decoder *self, PyObject *state)
{
    if (get_flag(state, "_comments", &self->comments) < 0 ||
        get_flag(state, "_unknown_fields", &self->unknown_fields) < 0 ||
        get_flag(state, "_dispatch_at_eof", &self->dispatch_at_eof) < 0 ||
        get_flag(state, "_at_start", &self->at_start) < 0 ||
        get_flag(state, "_after_cr", &self->after_cr) < 0 ||
        get_size(state, "_limit", &self->limit) < 0 ||
        get_size(state, "_size", &self->size) < 0 ||
        get_time(state, "_reconnection_time", &self->reconnection_time) < 0 ||
        get_time(state, "_retry", &self->retry) < 0 ||
        get_over(state, &self->over) < 0 ||
        get_string(state, "_last_event_id", &self->last_event_id) < 0 ||
        get_string(state, "_id_buffer", &self->id_buffer) < 0 ||
        get_string(state, "_event_type", &self->event_type) < 0 ||
        get_lines(state, "_data_blocks", &self->data) < 0 ||
        get_lines(state, "_data", &self->data) < 0 || get_tail(state, &self->tail) < 0) {
        return -1;
    }
    if (PyUnicode_GET_LENGTH(self->event_type) == 0) {
        Py_CLEAR(self->event_type);
    }
    if (self->over > FAILED || self->limit < 1 || self->size < 0 || self->size > self->limit ||
        (self->at_start && self->tail.size > 2) ||
        (!self->at_start && self->tail.size > self->limit - self->size)) {
        PyErr_SetString(PyExc_ValueError, "not a state of SSEDecoder");
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(reduce_doc, "__reduce__($self)\n--\n\nReturn how to make another one, for any protocol.");

static PyObject *
decoder_reduce(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *new_object = NULL;
    if (import_from("copyreg", "__newobj__", &new_object) < 0) {
        return NULL;
    }
    /* A subclass may have a state of its own. */
    PyObject *state = PyObject_CallMethod((PyObject *)self, "__getstate__", NULL);
    if (state == NULL) {
        Py_DECREF(new_object);
        return NULL;
    }
    return Py_BuildValue("N(O)N", new_object, Py_TYPE(self), state);
}

PyDoc_STRVAR(setstate_doc, "__setstate__($self, state, /)\n--\n\nTake over a state.");

static PyObject *
decoder_setstate(Decoder *self, PyObject *state)
{
    if (!PyDict_Check(state)) {
        PyErr_SetString(PyExc_TypeError, "the state of an SSEDecoder is a dict");
        return NULL;
    }
    /* What is read is copied first, since another thread may change it meanwhile. */
    state = PyDict_Copy(state);
    if (state == NULL) {
        return NULL;
    }
    if (enter(self) < 0) {
        Py_DECREF(state);
        return NULL;
    }
    discard(self);
    int result = set_state(self, state);
    Py_DECREF(state);
    if (result < 0) {
        self->limit = PY_SSIZE_T_MAX;
        discard(self);
        self->over = FAILED;
    }
    leave(self);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(sizeof_doc, "__sizeof__($self)\n--\n\nReturn its size in memory, in bytes.");

static PyObject *
decoder_sizeof(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) < 0) {
        return NULL;
    }
    Py_ssize_t size = Py_TYPE(self)->tp_basicsize + self->tail.capacity + self->data.capacity;
    leave(self);
    return PyLong_FromSsize_t(size);
}

/* ---- the properties ------------------------------------------------------------------------- */

static PyObject *
get_last_event_id(Decoder *self, void *Py_UNUSED(closure))
{
    if (enter(self) < 0) {
        return NULL;
    }
    PyObject *last_event_id = Py_NewRef(self->last_event_id);
    leave(self);
    return last_event_id;
}

static PyObject *
get_reconnection_time(Decoder *self, void *Py_UNUSED(closure))
{
    if (enter(self) < 0) {
        return NULL;
    }
    PyObject *reconnection_time = integer_or_none(self->reconnection_time);
    leave(self);
    return reconnection_time;
}

static PyObject *
get_incomplete(Decoder *self, void *Py_UNUSED(closure))
{
    if (enter(self) < 0) {
        return NULL;
    }
    int incomplete = self->tail.size > 0 || self->data.size > 0 || self->event_type != NULL;
    if (!incomplete && self->id_buffer != self->last_event_id) {
        incomplete = PyUnicode_Compare(self->id_buffer, self->last_event_id) != 0;
    }
    leave(self);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(incomplete);
}

static PyMethodDef decoder_methods[] = {
    {"feed", (PyCFunction)decoder_feed, METH_O, feed_doc},
    {"close", (PyCFunction)decoder_close, METH_NOARGS, close_doc},
    {"reset", (PyCFunction)decoder_reset, METH_NOARGS, reset_doc},
    {"__reduce__", (PyCFunction)decoder_reduce, METH_NOARGS, reduce_doc},
    {"__getstate__", (PyCFunction)decoder_getstate, METH_NOARGS, getstate_doc},
    {"__setstate__", (PyCFunction)decoder_setstate, METH_O, setstate_doc},
    {"__sizeof__", (PyCFunction)decoder_sizeof, METH_NOARGS, sizeof_doc},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef decoder_properties[] = {
    {"last_event_id", (getter)get_last_event_id, NULL,
     "The last event ID in force: what a reconnection sends as Last-Event-ID.", NULL},
    {"reconnection_time", (getter)get_reconnection_time, NULL,
     "The reconnection time in milliseconds, as the stream last set it, or None.", NULL},
    {"incomplete", (getter)get_incomplete, NULL,
     "Whether bytes are pending that an end of the stream would discard.\n\n"
     "An unfinished line, or data, an event type or an event ID that no blank line has\n"
     "followed. After `close` it tells whether something was discarded.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* For its signature: the text is taken from the class in Python. */
PyDoc_STRVAR(decoder_doc,
"SSEDecoder(*, last_event_id='', max_event_size=67108864, comments=False, "
"unknown_fields=False, dispatch_at_eof=False)\n--\n\n");

static PyType_Slot decoder_slots[] = {
    {Py_tp_doc, (void *)decoder_doc},
    {Py_tp_new, decoder_new},
    {Py_tp_init, decoder_init},
    {Py_tp_dealloc, decoder_dealloc},
    {Py_tp_traverse, decoder_traverse},
    {Py_tp_methods, decoder_methods},
    {Py_tp_getset, decoder_properties},
    {0, NULL},
};

static PyType_Spec decoder_spec = {
    /* Pickles name it so, and are opened by the class in Python where this one is missing. */
    .name = "sseparse.SSEDecoder",
    .basicsize = sizeof(Decoder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = decoder_slots,
};

/* ---- the module ----------------------------------------------------------------------------- */

/* Import a class of items and find its slots. An ImportError, if they are not as expected, leaves
   the decoder in Python to serve. */
static int
import_item_class(ItemClass *class, const char *name, int count, const char *const *slots)
{
    PyObject *type;
    if (import_from("sseparse._events", name, &type) < 0) {
        return -1;
    }
    if (!PyType_Check(type)) {
        Py_DECREF(type);
        PyErr_Format(PyExc_ImportError, "%s is no class", name);
        return -1;
    }
    class->type = (PyTypeObject *)type;
    for (int i = 0; i < count; i++) {
        PyObject *member = PyObject_GetAttrString((PyObject *)class->type, slots[i]);
        if (member == NULL) {
            return -1;
        }
        PyMemberDef *slot = Py_IS_TYPE(member, &PyMemberDescr_Type)
                                ? ((PyMemberDescrObject *)member)->d_member
                                : NULL;
        int is_slot = slot != NULL && slot->type == T_OBJECT_EX;
        if (is_slot) {
            class->offsets[i] = slot->offset;
        }
        Py_DECREF(member);
        if (!is_slot) {
            PyErr_Format(PyExc_ImportError, "%s has other slots than expected", name);
            return -1;
        }
    }
    /* No slot, and no __dict__, that this does not know of. */
    if (class->type->tp_basicsize != (Py_ssize_t)(sizeof(PyObject) + count * sizeof(PyObject *)) ||
        class->type->tp_dictoffset != 0 || class->type->tp_weaklistoffset != 0 ||
        !PyType_IS_GC(class->type)) {
        PyErr_Format(PyExc_ImportError, "%s has more slots than expected", name);
        return -1;
    }
    return 0;
}

static int
speedups_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->message = PyUnicode_InternFromString("message");
    state->empty = PyUnicode_InternFromString("");
    if (state->message == NULL || state->empty == NULL ||
        import_item_class(&state->server_sent_event, "ServerSentEvent", 4,
                          (const char *const[]){"event", "data", "id", "retry"}) < 0 ||
        import_item_class(&state->comment, "Comment", 1, (const char *const[]){"text"}) < 0 ||
        import_item_class(&state->unknown_field, "UnknownField", 2,
                          (const char *const[]){"name", "value"}) < 0 ||
        import_from("sseparse._input", "as_bytes", &state->as_bytes) < 0 ||
        import_from("sseparse._errors", "EventTooLarge", &state->event_too_large) < 0 ||
        import_from("sseparse._errors", "LocalProtocolError", &state->local_protocol_error) < 0) {
        return -1;
    }
    PyObject *type = PyType_FromModuleAndSpec(module, &decoder_spec, NULL);
    PyObject *in_python = NULL, *doc = NULL;
    int result = -1;
    if (type != NULL && import_from("sseparse._sse", "SSEDecoder", &in_python) == 0 &&
        (doc = PyObject_GetAttrString(in_python, "__doc__")) != NULL &&
        PyObject_SetAttrString(type, "__doc__", doc) == 0) {
        result = PyModule_AddType(module, (PyTypeObject *)type);
    }
    Py_XDECREF(doc);
    Py_XDECREF(in_python);
    Py_XDECREF(type);
    return result;
}

static int
speedups_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->server_sent_event.type);
    Py_VISIT(state->comment.type);
    Py_VISIT(state->unknown_field.type);
    Py_VISIT(state->as_bytes);
    Py_VISIT(state->event_too_large);
    Py_VISIT(state->local_protocol_error);
    return 0;
}

static int
speedups_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->server_sent_event.type);
    Py_CLEAR(state->comment.type);
    Py_CLEAR(state->unknown_field.type);
    Py_CLEAR(state->as_bytes);
    Py_CLEAR(state->event_too_large);
    Py_CLEAR(state->local_protocol_error);
    Py_CLEAR(state->message);
    Py_CLEAR(state->empty);
    return 0;
}

static void
speedups_free(void *module)
{
    speedups_clear((PyObject *)module);
}

static PyModuleDef_Slot speedups_slots[] = {
    {Py_mod_exec, speedups_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef speedups_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "sseparse._speedups",
    .m_doc = "The compiled parts.",
    .m_size = sizeof(State),
    .m_slots = speedups_slots,
    .m_traverse = speedups_traverse,
    .m_clear = speedups_clear,
    .m_free = speedups_free,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&speedups_module);
}
