/* test_scatter.c -- pictures of points: every point drawn, names escaped and never over each other, PNG or a reason. */
#include "../support.h"

#include "base/scatter.h"
#include "base/svg_png.h"

static size_t count(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static void points_and_names(void **state) {
    static const char *const groups[] = { "質問", "選択肢 <1>" };
    const mg_scatter_point   p[] = { { 0, 0, "レストラン", 0 }, { 1, 1, "a<b&\"c\"", 1 }, { NAN, 0, "nowhere", 0 }, { 1, 1, NULL, 1 } };
    const mg_scatter_panel   panel[] = { { "学習前", "74%", p, 4 }, { "学習後", NULL, p, 4 } };
    mg_scatter               s = { .title = "PCA", .panel = panel, .n = 2, .group = groups, .groups = 2, .paper = true };
    mg_buf                   b = { 0 };
    int                      width, height;
    (void)state;
    mg_scatter_svg(&b, &s, &width, &height);
    assert_false(b.failed);
    assert_int_equal(count(b.data, "<circle"), 2 * 3 + 2); /* the legend's, too */
    assert_int_equal(count(b.data, ">レストラン</text>"), 2);
    assert_int_equal(count(b.data, "a&lt;b&amp;&quot;c&quot;</text>"), 2);
    assert_int_equal(count(b.data, "nowhere"), 0);
    assert_int_equal(count(b.data, "選択肢 &lt;1&gt;"), 1);
    assert_non_null(strstr(b.data, "学習前"));
    assert_true(width > 700 && height > 380);
    mg_buf_free(&b);
}

/* A hundred names at one place: only those that fit are written, all can be pointed at. */
static void a_crowd(void **state) {
    mg_scatter_point p[100];
    for (int i = 0; i < 100; i++) p[i] = (mg_scatter_point){ 1e-9 * i, 0, "場所", 0 };
    const mg_scatter_panel panel = { NULL, NULL, p, 100 };
    mg_scatter             s = { .title = "t", .panel = &panel, .n = 1 };
    mg_buf                 b = { 0 };
    (void)state;
    mg_scatter_svg(&b, &s, NULL, NULL);
    assert_int_equal(count(b.data, "<title>場所</title>"), 100);
    assert_in_range(count(b.data, ">場所</text>"), 1, 60);
    mg_buf_free(&b);
}

static void png_or_a_reason(void **state) {
    const mg_scatter_point p[] = { { 0, 0, "レストラン", 0 }, { 1, 1, "鉛筆", 0 } };
    const mg_scatter_panel panel = { "図", NULL, p, 2 };
    mg_scatter             s = { .title = "t", .panel = &panel, .n = 1, .paper = true };
    mg_buf                 svg = { 0 }, png = { 0 };
    mg_error               err;
    int                    width, height;
    (void)state;
    mg_scatter_svg(&svg, &s, &width, &height);
    if (mg_svg_png_missing()) {
        assert_fails(mg_svg_png(&png, &svg, width, height, 2, "レストラン", &err), err, MG_LIBRARY, "install");
        assert_int_equal(png.len, 0);
    } else {
        assert_ok(mg_svg_png(&png, &svg, width, height, 2, "レストラン", &err), err);
        assert_true(png.len > 1000 && !memcmp(png.data, "\x89PNG\r\n\x1a\n", 8));
        const uint8_t *h = (const uint8_t *)png.data + 16; /* IHDR: width, height */
        assert_int_equal(h[2] << 8 | h[3], 2 * width);
        assert_int_equal(h[6] << 8 | h[7], 2 * height);
        png.len = 0;
        assert_fails(mg_svg_png(&png, &svg, 100000, height, 2, "x", &err), err, MG_CONFIG, "pixels");
        svg.len = 40; /* cut */
        assert_fails(mg_svg_png(&png, &svg, width, height, 2, "x", &err), err, MG_LIBRARY, "cannot draw");
        assert_int_equal(png.len, 0);
    }
    mg_buf_free(&svg);
    mg_buf_free(&png);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(points_and_names), cmocka_unit_test(a_crowd), cmocka_unit_test(png_or_a_reason) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
