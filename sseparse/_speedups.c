/* SSEDecoder, LineDecoder and the items, compiled. _sse.py, _lines.py and _events.py, the same
   classes in Python, explain each part.

   The strategy:

   - A line is interpreted in place, in the caller's bytes. Only a line that a chunk leaves
     unfinished is copied, into `tail`, which grows in place by a constant factor.
   - memchr finds the line ends. The next LF and the next CR are both remembered, so that a stream
     without CRs is searched for one only once a chunk.
   - `data: X` before a blank line, which is nearly every event, becomes a str and an event at
     once. Only the data of other events (several data lines, or a chunk that ends between the
     lines) is collected, as bytes, in `data`. Decoding the joined lines equals joining decoded
     lines, because an LF ends any truncated sequence.
   - An item is a struct of references, with no header for the garbage collector: its fields refer
     only to strings and an int. Those that a decoder made are used again once they are freed. The
     default type, a type that repeats and an unchanged ID are shared strings. A cycle through an
     item that a caller makes of other objects is never collected.
   - The compiled class of an item holds its fields, and nothing more: all methods are those of
     the dataclass in _events.py, which _compiled.py copies.
   - No allocation is larger than the chunk, the limit, or a constant factor of these.
   - The options are checked in _input.py. The docstrings are inherited from the classes in Python.
   - Between BEGIN_EXCLUSIVE and END_EXCLUSIVE a decoder is one thread's alone, and runs no Python
     code, except finalizers: in CPython 3.11 an allocation may collect garbage. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_OBJECT_EX T_OBJECT_EX
#define Py_T_BOOL T_BOOL
#define Py_T_LONGLONG T_LONGLONG
#define Py_READONLY READONLY
#endif
#if PY_VERSION_HEX < 0x030D0000
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

#define DEFAULT_LIMIT (64 * 1024 * 1024)
#define MAX_RECONNECTION_TIME PY_LLONG_MAX
/* An idle decoder keeps no buffer larger than this. */
#define IDLE_CAPACITY 64
#define LONGEST_REMEMBERED_TYPE 64
/* Freed items that are kept for the next ones: 224 KiB at most. With 1024, an event of the
   benchmark parsing/darkai/65536 takes a tenth longer. Without the GIL, threads would have to share
   them. */
#ifdef Py_GIL_DISABLED
#define FREE_ITEMS 0
#elif !defined(FREE_ITEMS)
#define FREE_ITEMS 4096
#endif

/* ---- module state --------------------------------------------------------------------------- */

enum { SERVER_SENT_EVENT, BLOCK, COMMENT, UNKNOWN_FIELD, ITEM_CLASSES };

typedef struct Item Item;

typedef struct {
    PyTypeObject *item_classes[ITEM_CLASSES];
    Item *free_items; /* linked by their first field */
    int free_count;
    PyObject *as_bytes;
    PyObject *checked_limit;
    PyObject *checked_options;
    PyObject *event_too_large;
    PyObject *local_protocol_error;
    PyObject *message; /* the default event type */
    PyObject *empty;
} State;

struct Item {
    PyObject_HEAD
    State *state; /* of the module, which the type keeps alive; NULL if made in Python */
    PyObject *fields[4];
};

/* ---- the decoders --------------------------------------------------------------------------- */

typedef struct {
    char *bytes;
    Py_ssize_t size;
    Py_ssize_t capacity;
} Buffer;

typedef struct {
    Py_ssize_t limit;
    int blocks;
    int comments;
    int unknown_fields;
    int dispatch_at_eof;
} Options;

enum { OPEN, CLOSED, TOO_LARGE, FAILED };
static const char *const OVER[] = {"", "close()", "EventTooLarge", "a failure"};

typedef struct {
    PyObject_HEAD
    State *state; /* of the module, which the type keeps alive */
    Options options;
    Py_ssize_t size; /* of the pending event, without the unfinished line */
    Buffer tail;     /* the unfinished line */
    Buffer data;     /* the data lines since the last dispatch, an LF after each */
    PyObject *last_event_id;
    PyObject *id_buffer;
    PyObject *event_type;        /* of the pending event, or NULL */
    PyObject *last_event_type;   /* the last one that was decoded, or NULL */
    long long reconnection_time; /* -1 for none */
    long long retry;             /* of the pending event, -1 for none */
    char has_id;                 /* the pending block has set the ID buffer */
    char busy;
    char over;
    char at_start; /* tail holds all that has come: perhaps a part of a byte order mark */
    char after_cr;
} Decoder;

typedef struct {
    PyObject_HEAD
    State *state;
    Py_ssize_t limit;
    Buffer tail;
    long long offset;      /* of the next byte */
    long long line_number; /* of the unfinished line */
    long long line_offset; /* of the first line that the last chunk completed */
    char plain;
    char text;
    char busy;
    char over;
} LineDecoder;

/* Return the index of `reason` in OVER, or -1. */
static int
over_from(const char *reason)
{
    int over = FAILED;
    while (over >= OPEN && strcmp(reason, OVER[over]) != 0) {
        over--;
    }
    return over;
}

static struct PyModuleDef speedups_module;

static const unsigned char BOM[] = {0xEF, 0xBB, 0xBF};

/* Without the GIL, other threads wait at the critical section. `busy` refuses a finalizer that
   runs during the work, and a thread that a finalizer lets run. */
#define BEGIN_EXCLUSIVE(self)                                                                     \
    Py_BEGIN_CRITICAL_SECTION(self);                                                              \
    if ((self)->busy) {                                                                           \
        PyErr_SetString((self)->state->local_protocol_error, "the decoder is already in use");    \
    }                                                                                             \
    else {                                                                                        \
        (self)->busy = 1;
#define END_EXCLUSIVE(self)                                                                       \
        (self)->busy = 0;                                                                         \
    }                                                                                             \
    Py_END_CRITICAL_SECTION()
#define RETURN_EXCLUSIVE(self, expression)                                                        \
    PyObject *result = NULL;                                                                      \
    BEGIN_EXCLUSIVE(self);                                                                        \
    result = expression;                                                                          \
    END_EXCLUSIVE(self);                                                                          \
    return result

static int
append(Buffer *buffer, const char *bytes, Py_ssize_t size)
{
    if (size > buffer->capacity - buffer->size) {
        if (size > PY_SSIZE_T_MAX / 2 - buffer->size) {
            PyErr_NoMemory();
            return -1;
        }
        /* An eighth more than needed: linear time in all, and little waste for long lines. */
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

static inline int
is_ascii(const char *bytes, Py_ssize_t size)
{
    uint64_t seen = 0, word;
    if (size < (Py_ssize_t)sizeof(word)) {
        for (Py_ssize_t i = 0; i < size; i++) {
            seen |= (unsigned char)bytes[i];
        }
        return seen < 0x80;
    }
    for (Py_ssize_t i = 0; i < size - (Py_ssize_t)sizeof(word); i += (Py_ssize_t)sizeof(word)) {
        memcpy(&word, bytes + i, sizeof(word));
        seen |= word;
    }
    memcpy(&word, bytes + size - sizeof(word), sizeof(word)); /* it may overlap the one before */
    return ((seen | word) & 0x8080808080808080) == 0;
}

/* Return the length of the sequence at `p` and set its code point; 0 if it is malformed, or cut by
   `end` (the Unicode Standard, table 3-7). */
static inline int
decode_sequence(const unsigned char *p, const unsigned char *end, Py_UCS4 *point)
{
    static const Py_UCS4 SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    int length = *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
    if (*p < 0xC2 || *p > 0xF4 || end - p < length) {
        return 0;
    }
    *point = *p & (0x7F >> length);
    for (int i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
        *point = *point << 6 | (p[i] & 0x3F);
    }
    int is_surrogate = *point >= 0xD800 && *point <= 0xDFFF;
    return *point < SMALLEST[length] || *point > 0x10FFFF || is_surrogate ? 0 : length;
}

/* Decode into the characters of a str that has room for them. Return -1 for malformed UTF-8. */
static inline int
write_text(int kind, void *text, const unsigned char *p, const unsigned char *end)
{
    Py_UCS4 point;
    for (Py_ssize_t i = 0; p < end;) {
        int length = 1;
        if (end - p >= 8 && is_ascii((const char *)p, 8)) {
            for (length = 0; length < 8; length++) {
                PyUnicode_WRITE(kind, text, i + length, p[length]);
            }
            i += 8;
        }
        else if (*p < 0x80) {
            PyUnicode_WRITE(kind, text, i, *p);
            i++;
        }
        else {
            length = decode_sequence(p, end, &point);
            if (length == 0) {
                return -1;
            }
            PyUnicode_WRITE(kind, text, i, point);
            i++;
        }
        p += length;
    }
    return 0;
}

/* Decode UTF-8 that is not ASCII. CPython's decoder starts with the narrowest characters, and
   copies the text each time it meets wider ones: with it, an event of the benchmark
   parsing/multibyte takes longer than in eventsource-parser on Node (118 ns, Node 115, this 90 in
   1024-byte chunks; 106, Node 67, this 80 in 65536-byte chunks). */
Py_NO_INLINE static PyObject *
decode_multibyte(const char *bytes, Py_ssize_t size, const char *errors)
{
    const unsigned char *p = (const unsigned char *)bytes, *end = p + size;
    Py_ssize_t length = 0;
    unsigned char largest = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        length += (p[i] & 0xC0) != 0x80;
        largest = p[i] > largest ? p[i] : largest;
    }
    /* The first byte of the highest code point says how wide the characters must be. */
    Py_UCS4 highest = largest < 0xC4 ? 0xFF : largest < 0xF0 ? 0xFFFF : 0x10FFFF;
    PyObject *text = PyUnicode_New(length, highest);
    if (text == NULL) {
        return NULL;
    }
    void *to = PyUnicode_DATA(text);
    int result = highest == 0xFF     ? write_text(PyUnicode_1BYTE_KIND, to, p, end)
                 : highest == 0xFFFF ? write_text(PyUnicode_2BYTE_KIND, to, p, end)
                                     : write_text(PyUnicode_4BYTE_KIND, to, p, end);
    if (result < 0) {
        Py_DECREF(text);
        return PyUnicode_DecodeUTF8(bytes, size, errors);
    }
    return text;
}

static inline PyObject *
decode_utf8(const char *bytes, Py_ssize_t size, const char *errors)
{
    /* CPython shares a str of a single character: one byte, or the two of a Latin-1 letter. */
    if (size < 2) {
        return PyUnicode_DecodeUTF8(bytes, size, errors);
    }
    if (!is_ascii(bytes, size)) {
        return size > 2 ? decode_multibyte(bytes, size, errors)
                        : PyUnicode_DecodeUTF8(bytes, size, errors);
    }
    /* A vectorized check and copy: CPython's decoder, word by word, takes longer. */
    PyObject *text = PyUnicode_New(size, 127);
    if (text != NULL) {
        memcpy(PyUnicode_DATA(text), bytes, (size_t)size);
    }
    return text;
}

static PyObject *
decode(const char *bytes, Py_ssize_t size)
{
    return decode_utf8(bytes, size, "replace");
}

/* Return `known` if it equals the decoded `bytes`, else a new string. */
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

/* Return the address of the first `c` from `p` on, or `end`. */
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

/* Append `item` and take its reference; NULL: its creation failed. */
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

static Item *
new_item(State *state, int class)
{
    Item *item = state->free_items;
    if (item == NULL) {
        item = PyObject_New(Item, state->item_classes[class]);
        if (item != NULL) {
            item->state = state;
        }
        return item;
    }
    state->free_items = (Item *)item->fields[0];
    state->free_count--;
    return (Item *)PyObject_Init((PyObject *)item, state->item_classes[class]);
}

static void
item_dealloc(Item *self)
{
    PyTypeObject *type = Py_TYPE(self);
    for (int i = 0; i < 4; i++) {
        Py_XDECREF(self->fields[i]);
    }
    State *state = self->state;
    if (state != NULL && state->free_count < FREE_ITEMS) {
        self->fields[0] = (PyObject *)state->free_items;
        state->free_items = self;
        state->free_count++;
    }
    else {
        type->tp_free(self);
    }
    Py_DECREF(type);
}

static void
free_items(State *state)
{
    while (state->free_items != NULL) {
        Item *item = state->free_items;
        state->free_items = (Item *)item->fields[0];
        PyObject_Free(item);
    }
    state->free_count = 0;
}

/* Append an item of a class with `values`, and take their references; NULL: the creation of a
   value failed. */
static inline int
deliver_item(State *state, int class, PyObject **values, int count, PyObject *items)
{
    int complete = 1;
    for (int i = 0; i < count; i++) {
        complete &= values[i] != NULL;
    }
    Item *item = complete ? new_item(state, class) : NULL;
    for (int i = 0; i < 4; i++) {
        PyObject *value = i < count ? values[i] : NULL;
        if (item == NULL) {
            Py_XDECREF(value);
        }
        else {
            item->fields[i] = value;
        }
    }
    return deliver(items, (PyObject *)item);
}

static PyObject *
or_none(PyObject *value)
{
    return Py_NewRef(value == NULL ? Py_None : value);
}

/* Deliver the pending event with `data`, and take its reference ("dispatch the event"). */
static inline int
dispatch(Decoder *self, PyObject *data, PyObject *items)
{
    State *state = self->state;
    PyObject *type = self->event_type;
    if (self->options.blocks) {
        PyObject *id = self->has_id ? self->id_buffer : NULL;
        PyObject *values[] = {or_none(type), data, or_none(id), integer_or_none(self->retry)};
        return deliver_item(state, BLOCK, values, 4, items);
    }
    if (type == NULL || PyUnicode_GET_LENGTH(type) == 0) {
        type = state->message;
    }
    PyObject *values[] = {
        Py_NewRef(type),
        data,
        Py_NewRef(self->id_buffer),
        integer_or_none(self->retry),
    };
    return deliver_item(state, SERVER_SENT_EVENT, values, 4, items);
}

/* Return whether the pending event has a field besides data. */
static int
has_fields(Decoder *self)
{
    return self->event_type != NULL || self->has_id || self->retry >= 0;
}

/* Process a blank line after the event's `data`, whose reference is taken; NULL: it has none. */
static inline int
end_event(Decoder *self, PyObject *data, PyObject *items)
{
    if (self->last_event_id != self->id_buffer) {
        Py_SETREF(self->last_event_id, Py_NewRef(self->id_buffer));
    }
    int result = 0;
    if (data != NULL || (self->options.blocks && has_fields(self))) {
        result = dispatch(self, data == NULL ? Py_NewRef(Py_None) : data, items);
    }
    Py_CLEAR(self->event_type);
    self->has_id = 0;
    self->retry = -1;
    self->size = 0;
    return result;
}

/* Process a blank line. */
static int
end_pending_event(Decoder *self, PyObject *items)
{
    PyObject *data = NULL;
    if (self->data.size > 0) {
        data = decode(self->data.bytes, self->data.size - 1);
        self->data.size = 0;
        if (data == NULL) {
            return -1;
        }
    }
    return end_event(self, data, items);
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

/* Deliver a comment; `line` begins with its colon. */
static int
comment(Decoder *self, const char *line, Py_ssize_t size, PyObject *items)
{
    Py_ssize_t skip = size > 1 && line[1] == ' ' ? 2 : 1;
    PyObject *values[] = {decode(line + skip, size - skip)};
    return deliver_item(self->state, COMMENT, values, 1, items);
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
    PyObject *values[] = {
        decode(line, colon - line),
        decode(value, end - value),
        decode(line, size),
    };
    return deliver_item(self->state, UNKNOWN_FIELD, values, 3, items);
}

/* Interpret a line that is not blank ("process the field"). With `blank_follows`, the next line is
   there and blank: return 1 if this processed that line too, else 0. */
static int
interpret(Decoder *self, const char *line, Py_ssize_t size, int blank_follows, PyObject *items)
{
    if (line[0] == ':') {
        return self->options.comments ? comment(self, line, size, items) : 0;
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
        PyObject *data = decode(value, value_size);
        return data == NULL || end_event(self, data, items) < 0 ? -1 : 1;
    }
    if (name_size == 5 && memcmp(line, "event", 5) == 0) {
        PyObject *type = decode_again(self->last_event_type, value, value_size);
        if (type == NULL) {
            return -1;
        }
        if (value_size <= LONGEST_REMEMBERED_TYPE) {
            Py_XSETREF(self->last_event_type, Py_NewRef(type));
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
            self->has_id = (char)self->options.blocks;
        }
        return 0;
    }
    if (name_size == 5 && memcmp(line, "retry", 5) == 0) {
        set_reconnection_time(self, value, value_size);
        return 0;
    }
    return self->options.unknown_fields ? unknown_field(self, line, size, items) : 0;
}

/* ---- the parser ----------------------------------------------------------------------------- */

/* The event outgrows the limit in `line`: keep as much of that as there is room for. */
static int
stop(Decoder *self, const char *line)
{
    self->over = TOO_LARGE;
    return append(&self->tail, line, self->options.limit - self->size - self->tail.size);
}

/* Return the start of the next line; the line end at `p` is CR or CRLF if it `is_cr`, else LF. */
static inline const char *
skip_line_end(Decoder *self, const char *p, int is_cr, const char *end)
{
    p++;
    if (is_cr && p == end) {
        self->after_cr = 1;
    }
    else if (is_cr && *p == '\n') {
        p++;
    }
    return p;
}

/* Deliver the items that the bytes from `p` to `end` complete. Stop at the limit. */
static int
parse(Decoder *self, const char *p, const char *end, PyObject *items)
{
    if (self->after_cr && p < end) {
        self->after_cr = 0;
        if (*p == '\n') {
            p++;
        }
    }
    /* The next LF and CR; before `p`, they have to be looked for again. */
    const char *lf = find(p, '\n', end);
    const char *cr = find(p, '\r', end);
    while (p < end) {
        const char *line_end = lf < cr ? lf : cr;
        Py_ssize_t size = line_end - p;
        if (size > 0 && size > self->options.limit - self->size - self->tail.size) {
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

        p = skip_line_end(self, line_end, line_end == cr, end);
        int blank_follows = p < end && (*p == '\n' || *p == '\r');
        int result = size == 0 ? end_pending_event(self, items)
                               : interpret(self, line, size, blank_follows, items);
        if (result < 0) {
            return -1;
        }
        if (result == 1) {
            p = skip_line_end(self, p, *p == '\r', end);
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

/* Parse the start of the stream, without its byte order mark ("decode"). */
static int
parse_start(Decoder *self, const char *p, const char *end, PyObject *items)
{
    while (self->tail.size < 3 && p < end && (unsigned char)*p == BOM[self->tail.size]) {
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
    /* The bytes that might have begun a mark are parsed like any others. */
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
    self->has_id = 0;
    self->retry = -1;
    release(&self->tail);
    release(&self->data);
    Py_CLEAR(self->event_type);
    Py_CLEAR(self->last_event_type);
    Py_XSETREF(self->id_buffer, Py_NewRef(self->last_event_id));
}

/* Set `target` to `string`, as an exact str: one of a subclass could refer to anything. */
static int
set_string(PyObject **target, PyObject *string)
{
    PyObject *exact = PyUnicode_FromObject(string);
    if (exact == NULL) {
        return -1;
    }
    Py_XSETREF(*target, exact);
    return 0;
}

static PyObject *
decoder_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
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
    self->options.limit = PY_SSIZE_T_MAX;
    self->reconnection_time = -1;
    self->last_event_id = Py_NewRef(self->state->empty);
    discard(self);
    return (PyObject *)self;
}

static int
decoder_init(Decoder *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"last_event_id",  "max_event_size",  "blocks", "comments",
                            "unknown_fields", "dispatch_at_eof", NULL};
    PyObject *last_event_id = self->state->empty, *max_event_size = NULL;
    Options options = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOpppp:SSEDecoder", names, &last_event_id,
                                     &max_event_size, &options.blocks, &options.comments,
                                     &options.unknown_fields, &options.dispatch_at_eof)) {
        return -1;
    }
    PyObject *check = self->state->checked_options;
    PyObject *checked = max_event_size == NULL
                            ? PyObject_CallFunction(check, "Oi", last_event_id, DEFAULT_LIMIT)
                            : PyObject_CallFunction(check, "OO", last_event_id, max_event_size);
    int result = -1;
    if (checked != NULL && PyArg_ParseTuple(checked, "Un", &last_event_id, &options.limit)) {
        BEGIN_EXCLUSIVE(self);
        result = set_string(&self->last_event_id, last_event_id);
        self->options = options;
        self->reconnection_time = -1;
        discard(self);
        END_EXCLUSIVE(self);
    }
    Py_XDECREF(checked);
    return result;
}

static int
decoder_traverse(PyObject *self, visitproc visit, void *arg)
{
    /* All other references are to exact strings. */
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

/* Return the items that `parser` finds in `bytes`. */
static PyObject *
run(Decoder *self, int (*parser)(Decoder *, const char *, const char *, PyObject *),
    const char *bytes, Py_ssize_t size)
{
    PyObject *items = PyList_New(0);
    if (items == NULL || parser(self, bytes, bytes + size, items) < 0) {
        /* Items are lost: the stream cannot go on. */
        self->over = FAILED;
        Py_CLEAR(items);
    }
    shrink(&self->tail);
    shrink(&self->data);
    return items;
}

/* Raise EventTooLarge with `items`, and take their reference. */
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

static PyObject *
bytes_of(State *state, PyObject *data)
{
    return PyBytes_CheckExact(data) ? Py_NewRef(data) : PyObject_CallOneArg(state->as_bytes, data);
}

static PyObject *
decoder_feed(Decoder *self, PyObject *data)
{
    PyObject *bytes = bytes_of(self->state, data);
    if (bytes == NULL) {
        return NULL;
    }
    PyObject *items = NULL;
    Py_ssize_t limit = 0;
    int is_too_large = 0;
    BEGIN_EXCLUSIVE(self);
    if (self->over) {
        PyErr_Format(self->state->local_protocol_error,
                     "feed() after %s: reset() the decoder first", OVER[(int)self->over]);
    }
    else {
        items = run(self, self->at_start ? parse_start : parse, PyBytes_AS_STRING(bytes),
                    PyBytes_GET_SIZE(bytes));
        limit = self->options.limit;
        is_too_large = self->over == TOO_LARGE;
    }
    END_EXCLUSIVE(self);
    Py_DECREF(bytes);
    return items != NULL && is_too_large ? too_large(self->state, limit, items) : items;
}

static PyObject *
decoder_close(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *items = NULL;
    BEGIN_EXCLUSIVE(self);
    int blank_lines = self->over == OPEN && self->options.dispatch_at_eof ? 2 : 0;
    if (self->over == OPEN) {
        self->over = CLOSED;
    }
    items = run(self, parse, "\n\n", blank_lines);
    END_EXCLUSIVE(self);
    return items;
}

static PyObject *
decoder_reset(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    RETURN_EXCLUSIVE(self, (discard(self), Py_NewRef(Py_None)));
}

/* ---- pickling: the state is the slots of the class in Python, in their order --------------- */

static PyObject *
decoder_getstate(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    RETURN_EXCLUSIVE(self, Py_BuildValue(
        "NNNNy#NNNOOnsNNnNN",
        PyBool_FromLong(self->after_cr),
        PyBool_FromLong(self->at_start),
        PyBool_FromLong(self->options.blocks),
        PyBool_FromLong(self->options.comments),
        self->data.size > 0 ? self->data.bytes : NULL, self->data.size - 1, /* NULL is None */
        PyBool_FromLong(self->options.dispatch_at_eof),
        or_none(self->event_type),
        PyBool_FromLong(self->has_id),
        self->id_buffer,
        self->last_event_id,
        self->options.limit,
        OVER[(int)self->over],
        integer_or_none(self->reconnection_time),
        integer_or_none(self->retry),
        self->size,
        PyBytes_FromStringAndSize(self->tail.bytes, self->tail.size),
        PyBool_FromLong(self->options.unknown_fields)));
}

/* Convert an int or None for PyArg_ParseTuple. */
static int
as_time(PyObject *value, void *time)
{
    *(long long *)time = value == Py_None ? -1 : PyLong_AsLongLong(value);
    return !PyErr_Occurred();
}

static PyObject *
decoder_setstate(Decoder *self, PyObject *state)
{
    int after_cr, at_start, has_id, over;
    Options options;
    const char *data, *tail, *reason;
    Py_ssize_t data_size, tail_size, size;
    PyObject *event_type, *id_buffer, *last_event_id;
    long long reconnection_time, retry;
    if (!PyTuple_Check(state)) {
        return PyErr_Format(PyExc_TypeError, "state must be a tuple, got %s",
                            Py_TYPE(state)->tp_name);
    }
    if (!PyArg_ParseTuple(state, "ppppz#pOpUUnsO&O&ny#p:__setstate__", &after_cr, &at_start,
                          &options.blocks, &options.comments, &data, &data_size,
                          &options.dispatch_at_eof, &event_type, &has_id, &id_buffer,
                          &last_event_id, &options.limit, &reason, as_time, &reconnection_time,
                          as_time, &retry, &size, &tail, &tail_size,
                          &options.unknown_fields)) {
        return NULL;
    }
    if (event_type != Py_None && !PyUnicode_Check(event_type)) {
        PyErr_SetString(PyExc_TypeError, "the event type of a state must be a str or None");
        return NULL;
    }
    over = over_from(reason);
    if (over < 0 || options.limit < 1 || size < 0 || size > options.limit ||
        tail_size > (at_start ? 2 : options.limit - size)) {
        PyErr_SetString(PyExc_ValueError, "state must be the state of an SSEDecoder");
        return NULL;
    }
    PyObject *result = NULL;
    BEGIN_EXCLUSIVE(self);
    discard(self);
    if ((data != NULL &&
         (append(&self->data, data, data_size) < 0 || append(&self->data, "\n", 1) < 0)) ||
        append(&self->tail, tail, tail_size) < 0 ||
        (event_type != Py_None && set_string(&self->event_type, event_type) < 0) ||
        set_string(&self->id_buffer, id_buffer) < 0 ||
        set_string(&self->last_event_id, last_event_id) < 0) {
        over = FAILED;
    }
    else {
        result = Py_NewRef(Py_None);
    }
    self->options = options;
    self->reconnection_time = reconnection_time;
    self->has_id = (char)has_id;
    self->retry = retry;
    self->size = size;
    self->over = (char)over;
    self->at_start = (char)at_start;
    self->after_cr = (char)after_cr;
    END_EXCLUSIVE(self);
    return result;
}

/* The __reduce__ of object fails for a class in C with protocols 0 and 1. */
static PyObject *
reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *new_object;
    if (import_from("copyreg", "__newobj__", &new_object) < 0) {
        return NULL;
    }
    /* A subclass may override __getstate__. */
    return Py_BuildValue("N(O)N", new_object, Py_TYPE(self),
                         PyObject_CallMethod(self, "__getstate__", NULL));
}

static PyObject *
decoder_sizeof(Decoder *self, PyObject *Py_UNUSED(ignored))
{
    RETURN_EXCLUSIVE(self, PyLong_FromSsize_t(Py_TYPE(self)->tp_basicsize + self->tail.capacity +
                                              self->data.capacity));
}

/* ---- the properties ------------------------------------------------------------------------- */

static PyObject *
get_last_event_id(Decoder *self, void *Py_UNUSED(closure))
{
    RETURN_EXCLUSIVE(self, Py_NewRef(self->last_event_id));
}

static PyObject *
get_reconnection_time(Decoder *self, void *Py_UNUSED(closure))
{
    RETURN_EXCLUSIVE(self, integer_or_none(self->reconnection_time));
}

static int
is_incomplete(Decoder *self)
{
    if (self->tail.size > 0 || self->data.size > 0) {
        return 1;
    }
    if (self->options.blocks) {
        return has_fields(self);
    }
    return (self->event_type != NULL && PyUnicode_GET_LENGTH(self->event_type) > 0) ||
           PyUnicode_Compare(self->id_buffer, self->last_event_id) != 0;
}

static PyObject *
get_incomplete(Decoder *self, void *Py_UNUSED(closure))
{
    RETURN_EXCLUSIVE(self, PyBool_FromLong(is_incomplete(self)));
}

/* ---- the class ------------------------------------------------------------------------------ */

/* Signatures alone: the docstrings are inherited. */
static PyMethodDef decoder_methods[] = {
    {"feed", (PyCFunction)decoder_feed, METH_O, "feed($self, data, /)\n--\n\n"},
    {"close", (PyCFunction)decoder_close, METH_NOARGS, "close($self)\n--\n\n"},
    {"reset", (PyCFunction)decoder_reset, METH_NOARGS, "reset($self)\n--\n\n"},
    {"__reduce__", reduce, METH_NOARGS, "__reduce__($self)\n--\n\n"},
    {"__getstate__", (PyCFunction)decoder_getstate, METH_NOARGS, "__getstate__($self)\n--\n\n"},
    {"__setstate__", (PyCFunction)decoder_setstate, METH_O,
     "__setstate__($self, state, /)\n--\n\n"},
    {"__sizeof__", (PyCFunction)decoder_sizeof, METH_NOARGS, "__sizeof__($self)\n--\n\n"},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef decoder_properties[] = {
    {"last_event_id", (getter)get_last_event_id, NULL, NULL, NULL},
    {"reconnection_time", (getter)get_reconnection_time, NULL, NULL, NULL},
    {"incomplete", (getter)get_incomplete, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(decoder_doc,
"SSEDecoder(*, last_event_id='', max_event_size=67108864, blocks=False, "
"comments=False, unknown_fields=False, dispatch_at_eof=False)\n--\n\n");

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
    /* Pickles name it so, and the class in Python opens them where this one is missing. */
    .name = "sseparse.SSEDecoder",
    .basicsize = sizeof(Decoder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = decoder_slots,
};

/* ---- LineDecoder ---------------------------------------------------------------------------- */

/* Deliver the line of `size` bytes: str if `text` is set and it is UTF-8, else bytes. */
static int
deliver_line(LineDecoder *self, const char *line, Py_ssize_t size, PyObject *lines)
{
    PyObject *item;
    /* Plain lines begin with a character that may begin JSON. */
    self->plain &= size > 0 && *line > ' ' && *line < 0x7f;
    if (!self->text) {
        return deliver(lines, PyBytes_FromStringAndSize(line, size));
    }
    item = decode_utf8(line, size, "strict");
    if (item == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        self->plain = 0;
        item = PyBytes_FromStringAndSize(line, size);
    }
    return deliver(lines, item);
}

/* Deliver the lines that the bytes from `p` to `end` complete. Stop at the limit. */
static int
parse_lines(LineDecoder *self, const char *p, const char *end, PyObject *lines)
{
    self->plain = 1;
    self->line_offset = self->offset - self->tail.size;
    self->offset += end - p;
    while (p < end) {
        const char *lf = find(p, '\n', end);
        Py_ssize_t size = lf - p;
        if (size > self->limit - self->tail.size) {
            self->over = TOO_LARGE;
            return 0;
        }
        if (lf == end) {
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
        size -= size > 0 && line[size - 1] == '\r';
        if (deliver_line(self, line, size, lines) < 0) {
            return -1;
        }
        self->line_number++;
        p = lf + 1;
    }
    return 0;
}

static PyObject *
run_lines(LineDecoder *self, const char *bytes, Py_ssize_t size)
{
    PyObject *lines = PyList_New(0);
    if (lines == NULL || parse_lines(self, bytes, bytes + size, lines) < 0) {
        /* Lines are lost: the stream cannot go on. */
        self->over = FAILED;
        Py_CLEAR(lines);
    }
    shrink(&self->tail);
    return lines;
}

static PyObject *
line_decoder_feed(LineDecoder *self, PyObject *data)
{
    PyObject *bytes = bytes_of(self->state, data);
    if (bytes == NULL) {
        return NULL;
    }
    PyObject *lines = NULL;
    Py_ssize_t limit = 0;
    int is_too_large = 0;
    BEGIN_EXCLUSIVE(self);
    if (self->over) {
        PyErr_Format(self->state->local_protocol_error, "feed() after %s: make a new decoder",
                     OVER[(int)self->over]);
    }
    else {
        lines = run_lines(self, PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
        limit = self->limit;
        is_too_large = self->over == TOO_LARGE;
    }
    END_EXCLUSIVE(self);
    Py_DECREF(bytes);
    return lines != NULL && is_too_large ? too_large(self->state, limit, lines) : lines;
}

static PyObject *
line_decoder_close(LineDecoder *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *lines = NULL;
    BEGIN_EXCLUSIVE(self);
    int is_open = self->over == OPEN;
    if (is_open) {
        self->over = CLOSED;
        self->plain = 1;
        self->line_offset = self->offset - self->tail.size;
    }
    lines = PyList_New(0);
    if (lines != NULL && is_open && self->tail.size > 0) {
        self->line_number++;
        if (deliver_line(self, self->tail.bytes, self->tail.size, lines) < 0) {
            Py_CLEAR(lines);
        }
        release(&self->tail);
    }
    if (lines == NULL) {
        self->over = FAILED;
    }
    END_EXCLUSIVE(self);
    return lines;
}

static PyObject *
line_decoder_getstate(LineDecoder *self, PyObject *Py_UNUSED(ignored))
{
    RETURN_EXCLUSIVE(self, Py_BuildValue(
        "nLLLsNNN",
        self->limit,
        self->line_number,
        self->line_offset,
        self->offset,
        OVER[(int)self->over],
        PyBool_FromLong(self->plain),
        PyBytes_FromStringAndSize(self->tail.bytes, self->tail.size),
        PyBool_FromLong(self->text)));
}

static PyObject *
line_decoder_setstate(LineDecoder *self, PyObject *state)
{
    Py_ssize_t limit, tail_size;
    long long line_number, line_offset, offset;
    int plain, text, over;
    const char *reason, *tail;
    if (!PyTuple_Check(state)) {
        return PyErr_Format(PyExc_TypeError, "state must be a tuple, got %s",
                            Py_TYPE(state)->tp_name);
    }
    if (!PyArg_ParseTuple(state, "nLLLspy#p:__setstate__", &limit, &line_number, &line_offset,
                          &offset, &reason, &plain, &tail, &tail_size, &text)) {
        return NULL;
    }
    over = over_from(reason);
    if (over < 0 || limit < 1 || tail_size > limit) {
        PyErr_SetString(PyExc_ValueError, "state must be the state of a LineDecoder");
        return NULL;
    }
    PyObject *result = NULL;
    BEGIN_EXCLUSIVE(self);
    self->tail.size = 0;
    if (append(&self->tail, tail, tail_size) == 0) {
        result = Py_NewRef(Py_None);
    }
    self->limit = limit;
    self->line_number = line_number;
    self->line_offset = line_offset;
    self->offset = offset;
    self->plain = (char)plain;
    self->text = (char)text;
    self->over = (char)(result == NULL ? FAILED : over);
    END_EXCLUSIVE(self);
    return result;
}

static PyObject *
line_decoder_sizeof(LineDecoder *self, PyObject *Py_UNUSED(ignored))
{
    RETURN_EXCLUSIVE(self,
                     PyLong_FromSsize_t(Py_TYPE(self)->tp_basicsize + self->tail.capacity));
}

static PyObject *
line_decoder_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &speedups_module);
    LineDecoder *self = module == NULL ? NULL : (LineDecoder *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = PyModule_GetState(module);
        self->limit = DEFAULT_LIMIT;
        self->line_number = 1;
    }
    return (PyObject *)self;
}

static int
line_decoder_init(LineDecoder *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"max_line_size", "_text", NULL};
    PyObject *max_line_size = NULL;
    int text = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$Op:LineDecoder", names, &max_line_size,
                                     &text)) {
        return -1;
    }
    Py_ssize_t limit = DEFAULT_LIMIT;
    if (max_line_size != NULL) {
        PyObject *checked = PyObject_CallFunction(self->state->checked_limit, "sO",
                                                  "max_line_size", max_line_size);
        limit = checked == NULL ? -1 : PyLong_AsSsize_t(checked);
        Py_XDECREF(checked);
        if (limit < 0) {
            return -1;
        }
    }
    BEGIN_EXCLUSIVE(self);
    release(&self->tail);
    self->limit = limit;
    self->offset = self->line_offset = 0;
    self->line_number = 1;
    self->plain = 0;
    self->text = (char)text;
    self->over = OPEN;
    END_EXCLUSIVE(self);
    return PyErr_Occurred() ? -1 : 0;
}

static void
line_decoder_dealloc(LineDecoder *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    release(&self->tail);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef line_decoder_methods[] = {
    {"feed", (PyCFunction)line_decoder_feed, METH_O, "feed($self, data, /)\n--\n\n"},
    {"close", (PyCFunction)line_decoder_close, METH_NOARGS, "close($self)\n--\n\n"},
    {"__reduce__", reduce, METH_NOARGS, "__reduce__($self)\n--\n\n"},
    {"__getstate__", (PyCFunction)line_decoder_getstate, METH_NOARGS,
     "__getstate__($self)\n--\n\n"},
    {"__setstate__", (PyCFunction)line_decoder_setstate, METH_O,
     "__setstate__($self, state, /)\n--\n\n"},
    {"__sizeof__", (PyCFunction)line_decoder_sizeof, METH_NOARGS, "__sizeof__($self)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef line_decoder_members[] = {
    {"_line_number", Py_T_LONGLONG, offsetof(LineDecoder, line_number), Py_READONLY, NULL},
    {"_line_offset", Py_T_LONGLONG, offsetof(LineDecoder, line_offset), Py_READONLY, NULL},
    {"_offset", Py_T_LONGLONG, offsetof(LineDecoder, offset), Py_READONLY, NULL},
    {"_plain", Py_T_BOOL, offsetof(LineDecoder, plain), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(line_decoder_doc, "LineDecoder(*, max_line_size=67108864, _text=False)\n--\n\n");

static PyType_Slot line_decoder_slots[] = {
    {Py_tp_doc, (void *)line_decoder_doc},
    {Py_tp_new, line_decoder_new},
    {Py_tp_init, line_decoder_init},
    {Py_tp_dealloc, line_decoder_dealloc},
    {Py_tp_traverse, decoder_traverse},
    {Py_tp_methods, line_decoder_methods},
    {Py_tp_members, line_decoder_members},
    {0, NULL},
};

static PyType_Spec line_decoder_spec = {
    .name = "sseparse.LineDecoder",
    .basicsize = sizeof(LineDecoder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = line_decoder_slots,
};

/* ---- the classes of items ------------------------------------------------------------------- */

#define FIELD(name, index)                                                                        \
    {name, Py_T_OBJECT_EX, offsetof(Item, fields) + (index) * sizeof(PyObject *), 0, NULL}
#define ITEM_CLASS(prefix, class_name)                                                            \
    static PyType_Slot prefix##_slots[] = {                                                       \
        {Py_tp_dealloc, item_dealloc},                                                            \
        {Py_tp_members, prefix##_members},                                                        \
        {0, NULL},                                                                                \
    };                                                                                            \
    static PyType_Spec prefix##_spec = {                                                          \
        .name = "sseparse." class_name,                                                           \
        .basicsize = sizeof(Item),                                                                \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,                                        \
        .slots = prefix##_slots,                                                                  \
    }

static PyMemberDef event_members[] = {FIELD("event", 0), FIELD("data", 1), FIELD("id", 2),
                                      FIELD("retry", 3), {NULL, 0, 0, 0, NULL}};
static PyMemberDef comment_members[] = {FIELD("text", 0), {NULL, 0, 0, 0, NULL}};
static PyMemberDef unknown_field_members[] = {FIELD("name", 0), FIELD("value", 1),
                                              FIELD("line", 2), {NULL, 0, 0, 0, NULL}};
#define block_members event_members
ITEM_CLASS(event, "ServerSentEvent");
ITEM_CLASS(block, "Block");
ITEM_CLASS(comment, "Comment");
ITEM_CLASS(unknown_field, "UnknownField");

/* ---- the module ----------------------------------------------------------------------------- */

/* Each class, with the slots of the class in Python: the fields of an item, the state of a decoder.
   The items come first, in the order of their constants. */
static const struct {
    PyType_Spec *spec;
    const char *slots;
} CLASSES[] = {
    {&event_spec, "event data id retry"},
    {&block_spec, "event data id retry"},
    {&comment_spec, "text"},
    {&unknown_field_spec, "name value line"},
    {&decoder_spec,
     "_after_cr _at_start _blocks _comments _data _dispatch_at_eof _event_type _has_id _id_buffer "
     "_last_event_id _limit _over _reconnection_time _retry _size _tail _unknown_fields"},
    {&line_decoder_spec,
     "_limit _line_number _line_offset _offset _over _plain _tail _text"},
};

/* make(name, base, slots): return a new class. Raise ImportError if the slots are other ones. */
static PyObject *
make(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyObject *name, *base, *slots;
    if (!PyArg_ParseTuple(args, "UOU:make", &name, &base, &slots)) {
        return NULL;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(CLASSES); i++) {
        const char *own_name = strchr(CLASSES[i].spec->name, '.') + 1;
        if (PyUnicode_CompareWithASCIIString(name, own_name) != 0 ||
            PyUnicode_CompareWithASCIIString(slots, CLASSES[i].slots) != 0) {
            continue;
        }
        for (int j = 0; CLASSES[i].spec == &decoder_spec && j < ITEM_CLASSES; j++) {
            if (state->item_classes[j] == NULL) {
                return PyErr_Format(PyExc_ImportError, "%s is not compiled", CLASSES[j].spec->name);
            }
        }
        PyObject *made = PyType_FromModuleAndSpec(module, CLASSES[i].spec, base);
        if (made != NULL && i < ITEM_CLASSES) {
            Py_XSETREF(state->item_classes[i], (PyTypeObject *)Py_NewRef(made));
        }
        return made;
    }
    return PyErr_Format(PyExc_ImportError,
                        "%U has other slots: was this built for another version?", name);
}

static PyMethodDef speedups_methods[] = {
    {"make", make, METH_VARARGS, "make($module, name, base, slots, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static int
speedups_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->message = PyUnicode_InternFromString("message");
    state->empty = PyUnicode_InternFromString("");
    if (state->message == NULL || state->empty == NULL ||
        import_from("sseparse._input", "as_bytes", &state->as_bytes) < 0 ||
        import_from("sseparse._input", "checked_limit", &state->checked_limit) < 0 ||
        import_from("sseparse._input", "checked_options", &state->checked_options) < 0 ||
        import_from("sseparse._errors", "EventTooLarge", &state->event_too_large) < 0 ||
        import_from("sseparse._errors", "LocalProtocolError", &state->local_protocol_error) < 0) {
        return -1;
    }
    return 0;
}

static int
speedups_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    for (int i = 0; i < ITEM_CLASSES; i++) {
        Py_VISIT(state->item_classes[i]);
    }
    Py_VISIT(state->as_bytes);
    Py_VISIT(state->checked_limit);
    Py_VISIT(state->checked_options);
    Py_VISIT(state->event_too_large);
    Py_VISIT(state->local_protocol_error);
    return 0;
}

static int
speedups_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    free_items(state);
    for (int i = 0; i < ITEM_CLASSES; i++) {
        Py_CLEAR(state->item_classes[i]);
    }
    Py_CLEAR(state->as_bytes);
    Py_CLEAR(state->checked_limit);
    Py_CLEAR(state->checked_options);
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
    .m_doc = "The compiled classes.",
    .m_methods = speedups_methods,
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
