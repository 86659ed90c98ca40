//! Our drawing words on top of `kuva`'s scene: positions, inks and labels, for a page or a
//! terminal.

use kuva::backend::svg::SvgBackend;
use kuva::backend::terminal::TerminalBackend;
use kuva::render::color::Color;
use kuva::render::render::{PathData, Primitive, Scene, TextAnchor};

use super::theme::{self, Ink};
use crate::text::Style;

/// Where the drawing will be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// SVG in a browser or on paper.
    Page,
    /// Character cells; a cell is [`CELL`] pixels, so that the same layout fits both.
    Terminal,
}

/// Pixels that one character cell stands for.
const CELL: (f64, f64) = (8.0, 16.0);

/// Where a text's position lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// How heavy a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// Ticks and units.
    Small,
    /// Values and labels.
    Plain,
    /// Headings.
    Strong,
}

/// A point, in pixels from the upper left corner.
pub(super) type Point = (f64, f64);

/// Something to draw on.
pub(super) struct Canvas {
    scene: Scene,
    medium: Medium,
}

impl Canvas {
    /// An empty canvas.
    pub(super) fn new(medium: Medium, width: f64, height: f64) -> Self {
        let mut scene = Scene::new(width, height);
        scene.font_family =
            Some("system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif".to_owned());
        match medium {
            Medium::Page => {
                scene.background_color = Some(Ink::Paper.css());
                scene.text_color = Some(Ink::Text.css());
            }
            Medium::Terminal => {
                scene.background_color = None;
                scene.text_color = Some(Ink::Text.terminal().to_owned());
            }
        }
        Self { scene, medium }
    }

    /// A canvas of so many character cells.
    pub(super) fn for_terminal(columns: u16, rows: u16) -> Self {
        let (width, height) = (f64::from(columns) * CELL.0, f64::from(rows) * CELL.1);
        Self::new(Medium::Terminal, width, height)
    }

    pub(super) fn width(&self) -> f64 {
        self.scene.width
    }

    pub(super) fn height(&self) -> f64 {
        self.scene.height
    }

    pub(super) fn is_page(&self) -> bool {
        self.medium == Medium::Page
    }

    /// Room that a text takes in width.
    pub(super) fn text_width(&self, text: &str, face: Face) -> f64 {
        match self.medium {
            Medium::Page => {
                let bold = if face == Face::Strong { 1.06 } else { 1.0 };
                text.chars().map(ems).sum::<f64>() * f64::from(size(face)) * bold
            }
            // No text of ours is long enough to lose a bit here.
            Medium::Terminal => text.chars().count() as f64 * CELL.0,
        }
    }

    /// A straight line.
    pub(super) fn line(&mut self, from: Point, to: Point, ink: Ink, width: f64) {
        self.stroke(from, to, ink, width, None);
    }

    /// A broken line.
    pub(super) fn dashes(&mut self, from: Point, to: Point, ink: Ink, width: f64) {
        self.stroke(from, to, ink, width, Some("4 4".to_owned()));
    }

    fn stroke(&mut self, from: Point, to: Point, ink: Ink, width: f64, dash: Option<String>) {
        let stroke = self.colour(ink);
        self.scene.elements.push(Primitive::Line {
            x1: from.0,
            y1: from.1,
            x2: to.0,
            y2: to.1,
            stroke,
            stroke_width: width,
            stroke_dasharray: dash,
        });
    }

    /// A line through many points.
    pub(super) fn polyline(&mut self, points: Vec<Point>, ink: Ink, width: f64) {
        let stroke = self.colour(ink);
        self.scene.elements.push(Primitive::PolyLine {
            points,
            stroke,
            stroke_width: width,
            stroke_dasharray: None,
        });
    }

    /// A filled surface between an upper and a lower edge.
    pub(super) fn area(&mut self, upper: &[Point], lower: &[Point], ink: Ink, opacity: f64) {
        let mut d = String::new();
        for (n, (x, y)) in upper.iter().chain(lower.iter().rev()).enumerate() {
            let command = if n == 0 { 'M' } else { 'L' };
            d.push_str(&format!("{command}{x:.1} {y:.1}"));
        }
        d.push('Z');
        let fill = self.colour(ink);
        self.scene.elements.push(Primitive::Path(Box::new(PathData {
            d,
            fill: Some(fill),
            stroke: Color::None,
            stroke_width: 0.0,
            opacity: Some(opacity),
            stroke_dasharray: None,
        })));
    }

    /// A filled rectangle.
    pub(super) fn rect(&mut self, corner: Point, size: Point, ink: Ink) {
        self.fill(corner, size, ink, None);
    }

    /// A thin veil over a region; left out in a terminal, where it would hide what is beneath.
    pub(super) fn veil(&mut self, corner: Point, size: Point, ink: Ink, opacity: f64) {
        if self.is_page() {
            self.fill(corner, size, ink, Some(opacity));
        }
    }

    fn fill(&mut self, (x, y): Point, (width, height): Point, ink: Ink, opacity: Option<f64>) {
        let fill = self.colour(ink);
        self.scene.elements.push(Primitive::Rect {
            x,
            y,
            width,
            height,
            fill,
            stroke: None,
            stroke_width: None,
            opacity,
        });
    }

    /// A dot with a rim in the colour of the paper, so that it stands out on a line.
    pub(super) fn dot(&mut self, (cx, cy): Point, radius: f64, ink: Ink) {
        let (fill, rim) = (self.colour(ink), self.colour(Ink::Paper));
        self.scene.elements.push(Primitive::Circle {
            cx,
            cy,
            r: radius,
            fill,
            fill_opacity: None,
            stroke: Some(rim),
            stroke_width: Some(1.5),
        });
    }

    /// A text; `y` is its middle, not its baseline.
    pub(super) fn text(&mut self, (x, y): Point, text: &str, align: Align, face: Face, ink: Ink) {
        let size = size(face);
        let color = Some(self.colour(ink));
        self.scene.elements.push(Primitive::Text {
            x,
            y: y + f64::from(size) * 0.35,
            content: literal(text),
            size,
            anchor: match align {
                Align::Left => TextAnchor::Start,
                Align::Centre => TextAnchor::Middle,
                Align::Right => TextAnchor::End,
            },
            rotate: None,
            bold: face == Face::Strong,
            color,
        });
    }

    /// What is drawn within `draw` shows `tip` when the pointer rests on it.
    pub(super) fn with_tip(&mut self, tip: String, draw: impl FnOnce(&mut Self)) {
        // Not `Scene::add`: that would also ask for kuva's own hover style.
        self.scene.elements.push(Primitive::GroupStart {
            transform: None,
            title: Some(tip),
            extra_attrs: None,
        });
        draw(self);
        self.scene.elements.push(Primitive::GroupEnd);
    }

    fn colour(&self, ink: Ink) -> Color {
        match self.medium {
            Medium::Page => Color::Css(ink.css().into()),
            Medium::Terminal => Color::from(ink.terminal()),
        }
    }

    /// The drawing as an SVG element with a name, a description and its own colours.
    pub(super) fn into_svg(self, id: &str, title: &str, description: &str) -> String {
        let svg = SvgBackend::new().render_scene(&self.scene);
        let (width, height) = (self.scene.width, self.scene.height);
        let body = svg.split_once('>').map_or("", |(_, body)| body);
        let id: String =
            id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let (title, description) = (escape(title), escape(description));
        let font = escape(self.scene.font_family.as_deref().unwrap_or("sans-serif"));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"sg-chart\" id=\"{id}\" \
             width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-desc\" font-family=\"{font}\">\
             <title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{description}</desc>\
             <style>{}</style>{body}",
            theme::STYLE
        )
    }

    /// The drawing in characters, trailing blanks removed.
    pub(super) fn into_terminal(self, columns: u16, rows: u16, style: Style) -> String {
        let backend = TerminalBackend::new(usize::from(columns), usize::from(rows));
        let drawn = backend.render_scene(&self.scene);
        let drawn = if style == Style::Ansi { drawn } else { without_colour(&drawn) };
        let lines: Vec<&str> = drawn.lines().map(str::trim_end).collect();
        lines.join("\n").trim_end().to_owned() + "\n"
    }
}

/// Width of a character in ems. The reader's font is not known, so this is the width of the wider
/// among the usual sans-serif fonts: a label may get too much room, never too little.
fn ems(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '-' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.95,
        c if c.is_ascii_uppercase() => 0.72,
        c if c.is_ascii() => 0.62,
        _ => 1.0,
    }
}

fn size(face: Face) -> u32 {
    match face {
        Face::Small => 12,
        Face::Plain | Face::Strong => 13,
    }
}

/// `kuva` reads `$…$` as mathematics; statements have parameters named `$1`.
fn literal(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .replace('$', "\\$")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Drops the colour sequences (`ESC [ … m`), the only ones that are written.
fn without_colour(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(|end| *end == 'm');
        } else {
            out.push(c);
        }
    }
    out
}
