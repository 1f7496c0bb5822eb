/* What cannot be counted from Python: the requests of valgrind's callgrind, allocations, and calls, both by function.

   Everything is counted of the thread that began it. Counting takes no memory from what it counts: all tables are of fixed size.

   An allocation is a call of malloc, calloc or realloc of one of CPython's three allocators (raw, mem, object), and its bytes are those
   that were asked for: of a realloc all of them, for it may move the block. What one allocator hands on to another is one allocation.
   What is taken from a free list of the interpreter (most floats, small tuples, lists) is none. It is the allocation of the Python
   function that runs, whatever that has called in C.

   A call is what a profile function is told of: each start of a Python function and each resumption of a generator or coroutine; each
   call of a C function or method by Python code, but not of a type. With a profile function in place the interpreter itself allocates more
   (it makes a frame object for each call, and unpacks tuples by an iterator), so calls and allocations are counted one after the other. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX >= 0x030E0000
#error "where the running frame is kept is known up to Python 3.13"
#endif
#define Py_BUILD_CORE
#include <internal/pycore_frame.h>
#undef Py_BUILD_CORE

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define HAS_CALLGRIND 1
#endif
#endif

#ifndef HAS_CALLGRIND
#define HAS_CALLGRIND 0
#define RUNNING_ON_VALGRIND 0
#define CALLGRIND_START_INSTRUMENTATION (void)0
#define CALLGRIND_STOP_INSTRUMENTATION (void)0
#define CALLGRIND_TOGGLE_COLLECT (void)0
#define CALLGRIND_ZERO_STATS (void)0
#define CALLGRIND_DUMP_STATS_AT(name) (void)(name)
#endif

#define DOMAINS 3
#define FUNCTIONS 4096 /* a power of two; a run of a feed calls some hundred */
#define JOBS_AT_ONCE 64

typedef struct {
    long long calls, allocations, bytes;
} Tally;

/* A function that was called. key is its code object, or its PyMethodDef; owner keeps that alive, and names a C function's home. */
typedef struct {
    void *key;
    PyObject *owner;
    const char *name; /* NULL of a Python function */
    Tally tally;
} Function;

static PyMemAllocatorEx originals[DOMAINS];
static bool is_installed, is_profiling, has_overflowed;
static long long allocations, bytes, frees;
/* Whether this thread's allocations count, and whether it is inside an allocator already. */
static __thread bool counts, is_inside;

static Function functions[FUNCTIONS];
static Py_ssize_t known;
static Function nobody; /* no Python function runs */
static long long python_calls, c_calls;

/* The entry of a key; of one that is not known yet, a new one that keeps its owner. */
static Function *
function_of(void *key, PyObject *owner, const char *name)
{
    size_t index = ((size_t)key >> 4) & (FUNCTIONS - 1);
    while (functions[index].key != NULL) {
        if (functions[index].key == key) {
            return &functions[index];
        }
        index = (index + 1) & (FUNCTIONS - 1);
    }
    if (known >= FUNCTIONS / 2) {
        has_overflowed = true;
        return &nobody;
    }
    known++;
    functions[index] = (Function){key, Py_NewRef(owner), name, {0, 0, 0}};
    return &functions[index];
}

/* The Python function that runs, found without making a frame object of it. */
static Function *
running(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyThreadState *state = PyThreadState_GetUnchecked();
    _PyInterpreterFrame *frame = state == NULL ? NULL : state->current_frame;
#else
    PyThreadState *state = _PyThreadState_UncheckedGet();
    _PyInterpreterFrame *frame = state == NULL ? NULL : state->cframe->current_frame;
#endif
#if PY_VERSION_HEX >= 0x030C0000
    while (frame != NULL && frame->owner == FRAME_OWNED_BY_CSTACK) {
        frame = frame->previous;
    }
#endif
    if (frame == NULL) {
        return &nobody;
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *code = frame->f_executable;
#else
    PyObject *code = (PyObject *)frame->f_code;
#endif
    return PyCode_Check(code) ? function_of(code, code, NULL) : &nobody;
}

static void
allocated(void *block, size_t size)
{
    if (block == NULL) {
        return;
    }
    allocations++;
    bytes += (long long)size;
    Function *function = running();
    function->tally.allocations++;
    function->tally.bytes += (long long)size;
}

static void *
count_malloc(void *context, size_t size)
{
    PyMemAllocatorEx *original = context;
    if (!counts || is_inside) {
        return original->malloc(original->ctx, size);
    }
    is_inside = true;
    void *block = original->malloc(original->ctx, size);
    is_inside = false;
    allocated(block, size);
    return block;
}

static void *
count_calloc(void *context, size_t items, size_t size)
{
    PyMemAllocatorEx *original = context;
    if (!counts || is_inside) {
        return original->calloc(original->ctx, items, size);
    }
    is_inside = true;
    void *block = original->calloc(original->ctx, items, size);
    is_inside = false;
    allocated(block, items * size);
    return block;
}

static void *
count_realloc(void *context, void *old, size_t size)
{
    PyMemAllocatorEx *original = context;
    if (!counts || is_inside) {
        return original->realloc(original->ctx, old, size);
    }
    is_inside = true;
    void *block = original->realloc(original->ctx, old, size);
    is_inside = false;
    allocated(block, size);
    return block;
}

static void
count_free(void *context, void *block)
{
    PyMemAllocatorEx *original = context;
    if (!counts || is_inside) {
        original->free(original->ctx, block);
        return;
    }
    is_inside = true;
    original->free(original->ctx, block);
    is_inside = false;
    frees += block != NULL;
}

static const PyMemAllocatorDomain domains[DOMAINS] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static PyObject *
probe_install(PyObject *self, PyObject *unused)
{
    if (is_installed) {
        PyErr_SetString(PyExc_RuntimeError, "the counting allocators are installed already");
        return NULL;
    }
    for (int index = 0; index < DOMAINS; index++) {
        PyMem_GetAllocator(domains[index], &originals[index]);
    }
    for (int index = 0; index < DOMAINS; index++) {
        PyMemAllocatorEx counting = {&originals[index], count_malloc, count_calloc, count_realloc, count_free};
        PyMem_SetAllocator(domains[index], &counting);
    }
    is_installed = true;
    Py_RETURN_NONE;
}

static PyObject *
probe_remove(PyObject *self, PyObject *unused)
{
    if (!is_installed) {
        PyErr_SetString(PyExc_RuntimeError, "the counting allocators are not installed");
        return NULL;
    }
    PyMemAllocatorEx found;
    for (int index = 0; index < DOMAINS; index++) {
        PyMem_GetAllocator(domains[index], &found);
        if (found.ctx != &originals[index]) {
            PyErr_SetString(PyExc_RuntimeError, "something else has put its allocators over the counting ones; remove that first");
            return NULL;
        }
    }
    for (int index = 0; index < DOMAINS; index++) {
        PyMem_SetAllocator(domains[index], &originals[index]);
    }
    is_installed = counts = false;
    Py_RETURN_NONE;
}

static bool
may_start(void)
{
    if (counts || is_profiling) {
        PyErr_SetString(PyExc_RuntimeError, "something is being counted already");
        return false;
    }
    for (size_t index = 0; index < FUNCTIONS; index++) {
        functions[index].tally = (Tally){0, 0, 0};
    }
    nobody.tally = (Tally){0, 0, 0};
    allocations = bytes = frees = python_calls = c_calls = 0;
    has_overflowed = false;
    return true;
}

static bool
is_whole(void)
{
    if (has_overflowed) {
        PyErr_Format(PyExc_OverflowError, "more than %d functions", FUNCTIONS / 2);
    }
    return !has_overflowed;
}

static PyObject *
probe_start(PyObject *self, PyObject *unused)
{
    if (!is_installed) {
        PyErr_SetString(PyExc_RuntimeError, "install the counting allocators first");
        return NULL;
    }
    if (!may_start()) {
        return NULL;
    }
    counts = true;
    Py_RETURN_NONE;
}

static PyObject *
probe_stop(PyObject *self, PyObject *unused)
{
    if (!counts) {
        PyErr_SetString(PyExc_RuntimeError, "call start first");
        return NULL;
    }
    counts = false;
    return is_whole() ? Py_BuildValue("LLL", allocations, bytes, frees) : NULL;
}

static PyObject *
home_of(PyObject *self)
{
    if (self == NULL) {
        return Py_None;
    }
    return PyModule_Check(self) || PyType_Check(self) ? self : (PyObject *)Py_TYPE(self);
}

static int
profile(PyObject *unused, PyFrameObject *frame, int what, PyObject *arg)
{
    if (what == PyTrace_CALL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        python_calls++;
        function_of(code, (PyObject *)code, NULL)->tally.calls++;
        Py_DECREF(code);
    }
    else if (what == PyTrace_C_CALL) {
        c_calls++;
        if (PyCFunction_Check(arg)) {
            PyMethodDef *method = ((PyCFunctionObject *)arg)->m_ml;
            function_of(method, home_of(PyCFunction_GET_SELF(arg)), method->ml_name)->tally.calls++;
        }
        else {
            function_of(Py_TYPE(arg), (PyObject *)Py_TYPE(arg), "__call__")->tally.calls++;
        }
    }
    return 0;
}

static PyObject *
probe_start_profile(PyObject *self, PyObject *unused)
{
    if (!may_start()) {
        return NULL;
    }
    is_profiling = true;
    PyEval_SetProfile(profile, NULL);
    Py_RETURN_NONE;
}

static PyObject *
probe_stop_profile(PyObject *self, PyObject *unused)
{
    if (!is_profiling) {
        PyErr_SetString(PyExc_RuntimeError, "call start_profile first");
        return NULL;
    }
    is_profiling = false;
    PyEval_SetProfile(NULL, NULL);
    return is_whole() ? Py_BuildValue("LL", python_calls, c_calls) : NULL;
}

static int
append_function(PyObject *list, const Function *function)
{
    const Tally *tally = &function->tally;
    if (tally->calls == 0 && tally->allocations == 0) {
        return 0;
    }
    PyObject *owner = function->owner == NULL ? Py_None : function->owner;
    PyObject *row = Py_BuildValue("OzLLL", owner, function->name, tally->calls, tally->allocations, tally->bytes);
    if (row == NULL) {
        return -1;
    }
    int failed = PyList_Append(list, row);
    Py_DECREF(row);
    return failed;
}

static PyObject *
probe_functions(PyObject *self, PyObject *unused)
{
    PyObject *list = PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    for (size_t index = 0; index < FUNCTIONS; index++) {
        if (functions[index].key != NULL && append_function(list, &functions[index]) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    if (append_function(list, &nobody) < 0) {
        Py_DECREF(list);
        return NULL;
    }
    return list;
}

static PyObject *
probe_forget(PyObject *self, PyObject *unused)
{
    if (counts || is_profiling) {
        PyErr_SetString(PyExc_RuntimeError, "something is being counted");
        return NULL;
    }
    for (size_t index = 0; index < FUNCTIONS; index++) {
        Function gone = functions[index];
        functions[index] = (Function){NULL, NULL, NULL, {0, 0, 0}};
        Py_XDECREF(gone.owner);
    }
    known = 0;
    Py_RETURN_NONE;
}

static bool
has_callgrind(void)
{
    if (!HAS_CALLGRIND) {
        PyErr_SetString(PyExc_RuntimeError, "compiled without <valgrind/callgrind.h>");
    }
    return HAS_CALLGRIND;
}

static PyObject *
probe_runs_under_valgrind(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(RUNNING_ON_VALGRIND);
}

static PyObject *
probe_start_instrumentation(PyObject *self, PyObject *unused)
{
    if (!has_callgrind()) {
        return NULL;
    }
    CALLGRIND_START_INSTRUMENTATION;
    Py_RETURN_NONE;
}

static PyObject *
probe_stop_instrumentation(PyObject *self, PyObject *unused)
{
    if (!has_callgrind()) {
        return NULL;
    }
    CALLGRIND_STOP_INSTRUMENTATION;
    Py_RETURN_NONE;
}

static PyObject *
probe_toggle_collect(PyObject *self, PyObject *unused)
{
    if (!has_callgrind()) {
        return NULL;
    }
    CALLGRIND_TOGGLE_COLLECT;
    Py_RETURN_NONE;
}

static PyObject *
probe_zero_stats(PyObject *self, PyObject *unused)
{
    if (!has_callgrind()) {
        return NULL;
    }
    CALLGRIND_ZERO_STATS;
    Py_RETURN_NONE;
}

static PyObject *
probe_dump_stats(PyObject *self, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL || !has_callgrind()) {
        return NULL;
    }
    CALLGRIND_DUMP_STATS_AT(text);
    Py_RETURN_NONE;
}

static PyObject *
probe_die_with_parent(PyObject *self, PyObject *unused)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static void
kill_all(const pid_t *running)
{
    for (int slot = 0; slot < JOBS_AT_ONCE; slot++) {
        if (running[slot] > 0) {
            kill(running[slot], SIGKILL);
            waitpid(running[slot], NULL, 0);
        }
    }
}

/* In C, so that the interpreter that is forked is the same each time: it holds no number of any process, and nothing depends on which of
   them ends first. */
static PyObject *
probe_fork_each(PyObject *self, PyObject *args)
{
    int jobs, at_once, slot;
    if (!PyArg_ParseTuple(args, "ii", &jobs, &at_once)) {
        return NULL;
    }
    if (jobs < 0 || at_once < 1 || at_once > JOBS_AT_ONCE) {
        PyErr_Format(PyExc_ValueError, "jobs must not be negative, and 1 to %d at once", JOBS_AT_ONCE);
        return NULL;
    }
    pid_t running[JOBS_AT_ONCE] = {0};
    int numbers[JOBS_AT_ONCE] = {0};
    int next = 0, underway = 0;
    while (next < jobs || underway > 0) {
        if (next < jobs && underway < at_once) {
            for (slot = 0; running[slot] > 0; slot++) {
            }
            PyOS_BeforeFork();
            pid_t pid = fork();
            if (pid == 0) {
                PyOS_AfterFork_Child();
                return PyLong_FromLong(next);
            }
            PyOS_AfterFork_Parent();
            if (pid < 0) {
                PyErr_SetFromErrno(PyExc_OSError);
                kill_all(running);
                return NULL;
            }
            running[slot] = pid;
            numbers[slot] = next++;
            underway++;
            continue;
        }
        int status;
        pid_t ended;
        Py_BEGIN_ALLOW_THREADS
        ended = waitpid(-1, &status, 0);
        Py_END_ALLOW_THREADS
        if (ended < 0) {
            if (errno == EINTR && PyErr_CheckSignals() == 0) {
                continue;
            }
            if (!PyErr_Occurred()) {
                PyErr_SetFromErrno(PyExc_OSError);
            }
            kill_all(running);
            return NULL;
        }
        for (slot = 0; slot < JOBS_AT_ONCE && running[slot] != ended; slot++) {
        }
        if (slot == JOBS_AT_ONCE) {
            continue; /* somebody else's child */
        }
        running[slot] = 0;
        underway--;
        if (status != 0) {
            kill_all(running);
            PyErr_Format(PyExc_RuntimeError, "job %d ended with the status %d", numbers[slot], status);
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"install", probe_install, METH_NOARGS, "Put the counting allocators in place."},
    {"remove", probe_remove, METH_NOARGS, "Put the allocators back that were there before."},
    {"start", probe_start, METH_NOARGS, "Count allocations of this thread from now on."},
    {"stop", probe_stop, METH_NOARGS, "(allocations, bytes, frees) since start."},
    {"start_profile", probe_start_profile, METH_NOARGS, "Count calls of this thread from now on."},
    {"stop_profile", probe_stop_profile, METH_NOARGS,
     "(Python calls, C calls) since start_profile; the call of this function itself is one."},
    {"functions", probe_functions, METH_NOARGS,
     "[(owner, name, calls, allocations, bytes)] of what was counted last: the owner is the code object of a Python function, the module or "
     "type of a C function, None where no Python function ran."},
    {"forget", probe_forget, METH_NOARGS, "Let go of the functions that were counted."},
    {"runs_under_valgrind", probe_runs_under_valgrind, METH_NOARGS, "Whether valgrind runs this process."},
    {"start_instrumentation", probe_start_instrumentation, METH_NOARGS, "Callgrind observes from now on."},
    {"stop_instrumentation", probe_stop_instrumentation, METH_NOARGS, "Callgrind does not observe from now on."},
    {"toggle_collect", probe_toggle_collect, METH_NOARGS, "Callgrind counts from now on, or does no longer."},
    {"zero_stats", probe_zero_stats, METH_NOARGS, "Callgrind counts from zero."},
    {"dump_stats", probe_dump_stats, METH_O, "Callgrind writes its counts to a file, under this name, and counts from zero."},
    {"die_with_parent", probe_die_with_parent, METH_NOARGS, "This process is killed when the thread that started it ends."},
    {"fork_each", probe_fork_each, METH_VARARGS,
     "fork_each(jobs, at_once): in each of so many children the number of its job, in the parent None once all have ended with 0."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "probe", "See probe.c.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit_probe(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL || PyModule_AddObjectRef(module, "has_callgrind", HAS_CALLGRIND ? Py_True : Py_False) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
