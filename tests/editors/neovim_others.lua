-- nvim --headless --clean -n -S neovim_others.lua: in code that others wrote, the server and the editor have one text.
-- GLM_FILE is a folder; what is typed and accepted there is drawn by a fixed seed.
local t = dofile(vim.fs.joinpath(vim.fs.dirname(debug.getinfo(1).source:sub(2)), 'neovim_lib.lua'))
local GHOST = vim.lsp.inline_completion ~= nil
local ANSWERS = { 'alue = 1', 'ame("é𝔘😀", key)', 'one\n    two(three)\nfour', 'x, y = 1, 2  # done', '.strip()' }
local FILES, SHOWN_MS = 8, 4
vim.lsp.enable('glm_lsp')
math.randomseed(7)

local function same()
  local text
  return t.eventually(10, function()
    local name = vim.uri_from_bufnr(t.buffer)
    t.client():request('test/text', { uri = name }, function(_, result) text = result end)
    t.eventually(5, function() return text end)
    return text and text == t.text() .. (vim.bo[t.buffer].endofline and '\n' or '')
  end)
end

t.run(function()
  local files = vim.fn.sort(vim.fn.globpath(vim.env.GLM_FILE, '**/*.py', true, true))
  local shown, accepted = 0, 0
  for n = 1, FILES do
    local file = files[math.floor(#files * n / (FILES + 1))]
    if not t.claim('opened ' .. vim.fs.basename(file), t.open(file)) then return end
    local before = t.text()
    t.ask('test/script', { typing = ANSWERS[n % #ANSWERS + 1] })
    local row = math.random(vim.api.nvim_buf_line_count(0))
    vim.api.nvim_win_set_cursor(0, { row, 0 })
    t.keys(n % 2 == 0 and 'ov' or 'A n')
    if t.eventually(SHOWN_MS, t.shown) then
      shown = shown + 1
      local typed = t.text()
      for _, key in ipairs(GHOST and { '<M-Right>', '<M-Down>', '<Tab>' } or { '<C-n><C-y>' }) do
        if t.shown() or t.eventually(1, t.shown) then t.keys(key) end
        t.pause(150)
      end
      accepted = accepted + (t.text() ~= typed and 1 or 0)
      t.claim('one text after accepting', same(), vim.fn.getline(row, row + 3))
    end
    t.keys('<Esc>')
    t.pause(200)
    t.claim('one text after leaving', same())
    t.keys('u')
    t.pause(100)
    t.claim('undo goes back', t.eventually(5, function()
      if t.text() ~= before then t.keys('u') end
      return t.text() == before
    end), t.text())
    t.claim('one text after undo', same())
  end
  t.note(('%d of %d places had a completion, %d were accepted'):format(shown, FILES, accepted))
  t.claim('there were completions', shown >= FILES / 2 and accepted >= shown / 2, { shown, accepted })
  t.claim('nothing failed', not vim.iter(t.messages):any(function(m) return m:find('rror') or m:find('failed') end), t.messages)
end)
