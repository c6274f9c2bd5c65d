/* svg_png.c -- librsvg, cairo and fontconfig by dlopen: no header of theirs is needed to build, no package to run. */
#include "base/svg_png.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

/* The few functions that are called, as librsvg 2.46, cairo 1.10 and fontconfig 2.8 have them. */
typedef struct { double x, y, width, height; } rectangle;
typedef struct { uint32_t domain; int code; char *message; } glib_error;
typedef int (*write_fn)(void *closure, const unsigned char *data, unsigned n);

static struct library {
    bool tried;
    char missing[256];
    void *(*rsvg_handle_new_from_data)(const uint8_t *data, size_t n, glib_error **err);
    int (*rsvg_handle_render_document)(void *handle, void *cairo, const rectangle *where, glib_error **err);
    void (*g_object_unref)(void *object);
    void (*g_error_free)(glib_error *err);
    void *(*cairo_image_surface_create)(int format, int width, int height);
    int (*cairo_surface_status)(void *surface);
    int (*cairo_surface_write_to_png_stream)(void *surface, write_fn write, void *closure);
    void (*cairo_surface_destroy)(void *surface);
    void *(*cairo_create)(void *surface);
    void (*cairo_destroy)(void *cairo);
    void *(*FcPatternCreate)(void);
    void *(*FcCharSetCreate)(void);
    int (*FcCharSetAddChar)(void *set, uint32_t c);
    int (*FcPatternAddCharSet)(void *pattern, const char *object, const void *set);
    void *(*FcObjectSetCreate)(void);
    void *(*FcFontList)(void *config, void *pattern, void *objects);
    void (*FcFontSetDestroy)(void *set);
    void (*FcCharSetDestroy)(void *set);
    void (*FcObjectSetDestroy)(void *set);
    void (*FcPatternDestroy)(void *pattern);
} lib;

#define FIELD(name) { #name, offsetof(struct library, name) }
typedef struct { const char *name; size_t field; } symbol;
static const symbol rsvg_names[] = { FIELD(rsvg_handle_new_from_data), FIELD(rsvg_handle_render_document), { 0 } },
                    glib_names[] = { FIELD(g_object_unref), { 0 } }, core_names[] = { FIELD(g_error_free), { 0 } },
                    cairo_names[] = { FIELD(cairo_image_surface_create), FIELD(cairo_surface_status), FIELD(cairo_surface_write_to_png_stream),
                                      FIELD(cairo_surface_destroy), FIELD(cairo_create), FIELD(cairo_destroy), { 0 } },
                    font_names[] = { FIELD(FcPatternCreate), FIELD(FcCharSetCreate), FIELD(FcCharSetAddChar), FIELD(FcPatternAddCharSet),
                                     FIELD(FcObjectSetCreate), FIELD(FcFontList), FIELD(FcFontSetDestroy), FIELD(FcCharSetDestroy),
                                     FIELD(FcObjectSetDestroy), FIELD(FcPatternDestroy), { 0 } };
static const struct { const char *file; const symbol *names; } libraries[] = {
    { "librsvg-2.so.2", rsvg_names }, { "libgobject-2.0.so.0", glib_names }, { "libglib-2.0.so.0", core_names },
    { "libcairo.so.2", cairo_names }, { "libfontconfig.so.1", font_names },
};

/* Not closed again: fontconfig and glib keep tables for the life of the process. */
static bool open_library(void) {
    if (lib.tried) return !*lib.missing;
    lib.tried = true;
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        void *so = dlopen(libraries[i].file, RTLD_NOW | RTLD_LOCAL);
        for (const symbol *s = libraries[i].names; s->name; s++) {
            void *f = so ? dlsym(so, s->name) : NULL;
            if (!f) {
                snprintf(lib.missing, sizeof lib.missing, "%s is not there; install librsvg2-2", libraries[i].file);
                return false;
            }
            memcpy((char *)&lib + s->field, &f, sizeof f);
        }
    }
    return true;
}

/* A font that has every kana and kanji of the text: at most the first 64 of them. */
static bool has_font(const char *text) {
    enum { ENOUGH = 64 };
    void  *pattern = lib.FcPatternCreate(), *set = lib.FcCharSetCreate(), *objects = lib.FcObjectSetCreate();
    size_t n = strlen(text), wide = 0;
    bool   found = true;
    for (size_t i = 0; i < n && wide < ENOUGH;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &c);
        if (len > 0 && c >= 0x3040 && c <= 0x9fff) wide += lib.FcCharSetAddChar(set, (uint32_t)c) != 0;
        i += len > 0 ? (size_t)len : 1;
    }
    if (wide && pattern && set && objects) {
        lib.FcPatternAddCharSet(pattern, "charset", set);
        int *fonts = lib.FcFontList(NULL, pattern, objects); /* begins with the number of fonts */
        found = fonts && *fonts > 0;
        if (fonts) lib.FcFontSetDestroy(fonts);
    }
    if (objects) lib.FcObjectSetDestroy(objects);
    if (set) lib.FcCharSetDestroy(set);
    if (pattern) lib.FcPatternDestroy(pattern);
    return found;
}

static const char no_font[] = "no font has Japanese characters; install fonts-noto-cjk";

const char *mg_svg_png_missing(void) {
    if (!open_library()) return lib.missing;
    return has_font("あア漢字") ? NULL : no_font;
}

static int keep(void *closure, const unsigned char *data, unsigned n) {
    mg_buf *b = closure;
    mg_buf_add(b, data, n);
    return b->failed ? 1 : 0; /* CAIRO_STATUS_NO_MEMORY */
}

mg_status mg_svg_png(mg_buf *out, const mg_buf *svg, int width, int height, double scale, const char *text, mg_error *err) {
    enum { ARGB32 = 0, MOST = 16384 };
    if (!open_library()) return mg_fail(err, MG_LIBRARY, "no PNG can be drawn: %s", lib.missing);
    if (!has_font(text)) return mg_fail(err, MG_LIBRARY, "no PNG can be drawn: %s", no_font);
    double      w = width * scale, h = height * scale;
    rectangle   all = { 0, 0, w, h };
    glib_error *why = NULL;
    size_t      before = out->len;
    if (!(w >= 1 && h >= 1 && w <= MOST && h <= MOST))
        return mg_fail(err, MG_CONFIG, "a PNG of %.0f x %.0f pixels: wanted are 1 to %d", w, h, MOST);
    void *handle = lib.rsvg_handle_new_from_data((const uint8_t *)svg->data, svg->len, &why);
    void *surface = lib.cairo_image_surface_create(ARGB32, (int)w, (int)h), *cairo = lib.cairo_create(surface);
    bool  drawn = handle && !lib.cairo_surface_status(surface) && lib.rsvg_handle_render_document(handle, cairo, &all, &why) &&
                  !lib.cairo_surface_write_to_png_stream(surface, keep, out) && !out->failed;
    mg_status st = drawn ? MG_OK : mg_fail(err, MG_LIBRARY, "librsvg cannot draw the picture: %.200s", why ? why->message : "no memory");
    if (why) lib.g_error_free(why);
    lib.cairo_destroy(cairo);
    lib.cairo_surface_destroy(surface);
    if (handle) lib.g_object_unref(handle);
    if (st) out->len = before;
    return st;
}
